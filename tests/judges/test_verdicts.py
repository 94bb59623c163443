"""Verdicts of the offline judges, kind by kind: what tells two answers apart, and what is no answer at all."""

import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stages.judges.base import Case, Judge
from stages.judges.exact import ExactJudge
from stages.judges.lexical import LexicalJudge

WHO = "Who built the old bridge?"
WHICH = "Which one is it?"
CAPITAL = "What is the capital of France?"
IS_IT = "Is the old bridge safe?"
COMPLEXITY = "Time and space are both examples of what type of resource?"
PROMPT = f"Question: Topic: Computational complexity theory\n{COMPLEXITY}"
LONG = (
    "The old bridge over the Velm is the subject of many tales. It was built of granite in the year of the great "
    "flood, and the quarry from which the stones were taken can be visited to this day. Among those who are "
    "remembered for their part in the work are the mason Bo Orsk and the engineer Ada Lovelace, whose letters are "
    "kept in the town's library. The bridge was restored twice, most recently after the war, when the railings had "
    "to be made anew. It carries a road and a tramway. "
)

Row = tuple[str, str, str, bool, bool]  # question, gold, answer, and whether the exact and the lexical judge take it


def table(text: str, question: str = WHICH) -> list[Row]:
    """A line is `gold => answers`: = is right to both judges, ~ to the lexical one alone, - to none; ? asks."""
    found = []
    for line in text.strip().splitlines():
        gold, _, answers = line.partition(" => ")
        if not answers:
            question = line[2:]
            continue
        for answer in answers.replace("\\n", "\n").split(" | "):
            found.append((question, gold, answer[2:], answer[0] == "=", answer[0] != "-"))
    return found


SIGNS = table(
    r"""
A => = A | = a | = (A) | ~ The answer is A. | ~ Option A | = **A** | ~ He got an A in maths. | - B | - It is a dog
A => - A dog barked. | - The answer is B, a town | - A+ | - A or B | - A, B, C, D
(B) => = B
B => ~ (B) Paris | - C | = B) | = b | ~ The correct option is (B).
D => - I'd say so
S => - it's so
A+ => - A | - A-
A- => = A−
A* => - A | = A*
vitamin A => - vitamin B | - vitamin | ~ It is Vitamin A.
vitamin A deficiency => - vitamin B deficiency
vitamin B12 => - vitamin B6 | = Vitamin B₁₂ | = vitamin B-12
hepatitis A => - hepatitis
hepatitis B => - hepatitis C
blood group O- => - blood group O+
O- => - O | = O negative
AB+ => - B+
C++ => - C | ~ It was written in C++.
C => - C++ | ~ vitamin C | - (A) (B) (C) (D)
C# => - C | - C++
.NET => - net | ~ the .NET framework
F# => - F
Na+ => - Na | = Na⁺
Ca2+ => = Ca²⁺
CO => - CO2
CO2 => - CO | = CO₂
H2O => = H₂O | - H2O2
O2 => - O3
F-16 => = F16 | - F-15
+ => = + | - - | ~ It is +.
> => - >=
∞ => = ∞
... => = …
? => - !
The The => - The | = the the
a band => = the band
John F. Kennedy => ~ John Kennedy
George W. Bush => ~ President George Bush
J. S. Bach => ~ J.S. Bach
A, B and C => - B and C
a-moll => = A-Moll
vitamin C => - vitamin D
NaCl => - NaOH
H2SO4 => - H2SO3
Fe2O3 => - Fe3O4
Fe2+ => - Fe3+
Cl- => - Cl
OH- => - OH
π => = π
x => - y
° => = °
€ => - $
$ => = $ | - €
% => = % | ~ It is %
& => = &
# => = #
* => - **
-> => - <-
😀 => = 😀 | - 😁
♂ => - ♀
R => = R | ~ The language R.
Go => = go
I => = I | - II | - I think so
it => = it
The Who => ~ The Who, a band
An => = An
US => = us
AT&T => = AT&T
R&B => = R&B
B-52 => - B-2
Boeing 747 => - Boeing 737
G7 => - G8
MP3 => - MP4
COVID-19 => = COVID-19
T-34 => = T34
Apollo 11 => - Apollo 13
Type O negative => - Type O positive
B flat => = B♭ | - B
C sharp minor => = C♯ minor
C major => - C minor
A minor => - A major | = a minor
"""
)
NUMERALS = table(
    r"""
World War I => - World War II | ~ the First World War | ~ In World War I, it was lost.
World War II => - World War I | - World War | ~ It was World War II. | = world war ii | ~ the Second World War
Louis XIV => - Louis XVI
Louis XIV of France => - Louis XV of France
Elizabeth I => - Elizabeth II | ~ Elizabeth I was queen then.
Henry VIII => ~ King Henry VIII | - King Henry VII
Pope Benedict XVI => - Pope Benedict XV
Super Bowl XLIX => - Super Bowl XLVIII
type I => - type II
Ⅳ => = IV
Malcolm X => - Malcolm
"""
)
SCRIPTS = [
    *table(
        r"""
Müller => ~ Mueller | ~ Muller | - Miller
Straße => = STRASSE
Göteborg => ~ Goeteborg
Søren => ~ Soren
İstanbul => = istanbul
Diyarbakır => = DIYARBAKIR
Łódź => ~ Lodz
Đà Nẵng => ~ Da Nang
Αθήνα => ~ ΑΘΗΝΑ
Οδυσσεύς => = ΟΔΥΣΣΕΎΣ
Ａｄａ => = Ada
ﬁsh => = fish
हिन्दी => = हिन्दी | ~ यह हिन्दी है | - हिन्दु
कि => - की
दिल्ली => - दिल्ल
தமிழ் => - தமிழ
Москва => ~ в Москве
북한 => - 북한산
서울 => ~ 서울입니다. | ~ 서울에서 태어났다 | - 서울대학교
서울대학교 => - 서울
세종대왕 => ~ 세종대왕이 만들었다
北京 => = 北京 | = 北京。 | = 「北京」 | ~ 那是北京。
北京 => ~ 北京是中国的首都。 | ~ 北京市 | - 北京大学 | - 他在北京大学学习。 | - 不是北京
北京大学 => - 北京 | - 清华大学
上海 => - 海上
李白 => ~ 李白写了这首诗。
東京 => ~ 東京です。 | ~ 首都は東京である | - 東京大学です | - 東京ではない
東京大学 => - 東北大学
京都 => - 東京都 | - 東京都です。 | ~ 京都にあります。
アメリカ => - ラテンアメリカ
バラク・オバマ => = バラクオバマ
กรุงเทพ => ~ เมืองหลวงคือกรุงเทพ
เชียงใหม่ => - มหาวิทยาลัยเชียงใหม่ | - เชียงราย
"""
    ),
    (WHICH, "café", "café", True, True),
    (WHICH, "مُحَمَّد", "محمد", False, True),
    (WHICH, "محمد", "محمود", False, False),
    (WHICH, "مـــحمد", "محمد", False, True),
    (WHICH, "שָׁלוֹם", "שלום", False, True),
    (WHICH, "می\u200cخواهم", "میخواهم", True, True),
]
REFUSALS = table(
    r"""
Ada Lovelace => - I cannot say whether it was Ada Lovelace | - I can't say whether it was Ada Lovelace.
Ada Lovelace => - I don’t know if Ada Lovelace built it. | - I'm not sure that it was Ada Lovelace
Ada Lovelace => - I don't think it was Ada Lovelace. | - I am unable to confirm that Ada Lovelace built it.
Ada Lovelace => - The passage does not mention Ada Lovelace
Ada Lovelace => - The passage does not mention any person who is called Ada Lovelace.
Ada Lovelace => - Ada Lovelace is not mentioned in the passage. | - The text never says that Ada Lovelace built it.
Ada Lovelace => - There is no information about Ada Lovelace. | - It is unclear whether Ada Lovelace built it.
Ada Lovelace => - It cannot be determined whether Ada Lovelace built it.
Ada Lovelace => - As an AI language model, I cannot tell you about Ada Lovelace.
Ada Lovelace => - I'm sorry, but I can't answer questions about Ada Lovelace. | - Was it Ada Lovelace? I do not know.
Ada Lovelace => - It was not Ada Lovelace. | ~ I'm not sure, but it was Ada Lovelace.
Ada Lovelace => ~ As an AI, I have no opinion. The builder was Ada Lovelace.
Ada Lovelace => ~ Ada Lovelace, who was not known for bridges | ~ Answer: Ada Lovelace | ~ Lovelace, Ada | - Ada
Ada Lovelace => = ada lovelace. | ~ The old bridge was built by Ada Lovelace in 1854, when the town had grown rich.
Ada Lovelace => - Bo Orsk, and certainly not Ada Lovelace | - It wasn't built by Ada Lovelace
Ada Lovelace => - Neither Ada Lovelace nor Bo | - Ada Lovelace did not build it
Ada Lovelace => - Either Ada Lovelace or Charles Babbage built it
Ada Lovelace => - It was built by either Ada Lovelace or Charles Babbage.
Ada Lovelace => - It was built by Ada Lovelace or Charles Babbage. | - Ada Lovelace or Charles Babbage built it
Ada Lovelace => - Ada Lovelace, Charles Babbage, Alan Turing, Grace Hopper
unknown => ~ It is unknown.
not known => ~ This is not known.
Ada and Bo => = Ada and Bo
Ada, Bo and Cy => ~ Ada, Bo and Cy built it | ~ Cy, Bo, Ada
Robert => - Robertson
Johnson => - Johnston
Alexander => - Alexandra
Christian => - Christina
""",
    WHO,
)
LISTS = [
    *table(
        r"""
Paris => - Paris, London, Rome, Berlin or Madrid | - Paris, London, Rome, Berlin, Madrid
Paris => - 1. Paris\n2. London\n3. Rome | - The possible answers are Paris, London, Rome and Berlin.
Paris => - Paris / London / Rome | - Paris or London | - either Paris or London | - It is either London or Paris.
Paris => - It could be Paris or London. | ~ Paris, France | ~ Paris, Île-de-France, France | = Paris.
1854 => - 1854 or 1855
Ada Lovelace => - Ada Lovelace, Charles Babbage and Alan Turing | ~ Ada Lovelace, mathematician and writer
red, green and blue => ~ Blue, red, and green | ~ red, green, blue
red or green => ~ green
granite => ~ It was built of granite, sand and lime by Ada and her men.
Lord Orsk => ~ Many spoke for them, such as Edwin Velm and Lord Orsk.
"""
    ),
    (WHICH, "Paris", "- Paris\n- London\n- Rome\n", False, False),
]
OTHERS = [
    *table(
        r"""
? Is the old bridge safe?
no => - Yes, there is no doubt | = No. | ~ No, it was not | ~ Not at all | ~ Never | ~ It isn't safe.
no => ~ The answer is no. | ~ That is false. | ~ It's not true. | - I don't know | - I do not know. | - No idea.
no => - It is safe. | - No doubt about it | - Without a doubt | - Yes and no | - Yes, it is not only safe but new
no => ~ Nope | ~ No way | ~ Definitely not | ~ Certainly not. | ~ Absolutely not! | ~ Of course not | ~ Hardly.
no => - I am not sure | - Not sure | ~ Negative | ~ no no no | - The passage does not say | - It's impossible to tell
no => - It is not clear | - Is the bridge not safe?
No, it was not => ~ No
yes => = Yes! | ~ Yes, it is. | - No | ~ It is safe. | - It is not safe. | ~ There is no doubt. | ~ Of course
yes => - Maybe | - I don't know | - The passage does not say. | - Not true | - Definitely not | - Certainly not
yes => - Indeed not | - Of course not | ~ Sure, no problem | ~ Affirmative | ~ Yes, although not in winter | - NO
yes => ~ That's right | - That is not right | - Is the bridge safe? | - yes or no | - I cannot say yes
true => = True. | - False | ~ Yes
True => ~ The statement is true.
False => - The statement is true. | ~ The statement is not true. | ~ No
No Country for Old Men => - No | ~ It is No Country for Old Men
Yes Minister => - Yes
nobody => = Nobody
? What is the capital of France?
Paris => ~ The capital of France is Paris. | ~ Paris, the capital | - Paris? London? Rome?
Paris => - It might be Paris, but it might also be London. | - London, not Paris | ~ Not London, Paris
Paris => ~ I believe it's Paris. | - Paris\nLondon\nRome\nBerlin\nMadrid | - Paris; London; Rome; Berlin
Paris => - Paris|London|Rome | - One of these: Paris, London, Rome, Berlin, Madrid.
Paris => - The capital of France is Paris, London, Rome, Berlin or Madrid.
Paris => - The capital of France is either Paris or London. | - It is Paris or maybe London
Paris => - Possibly Paris, possibly London, possibly Rome | - I refuse to answer whether it is Paris
Paris => - I have no idea whether Paris is the capital. | - Unable to determine if Paris is the capital.
Paris => - There is not enough information to say that Paris is the capital.
Paris => - As a language model, I can't know about Paris | - Nobody knows whether it is Paris.
Paris => - It's unknown if it's Paris | - The author doesn't specify that Paris is the capital. | - N/A
Paris => ~ What is the capital of France? Paris. | ~ Q: What is the capital of France?\nA: Paris
? Time and space are both examples of what type of resource?
complexity resource => ~ They are both examples of a complexity resource.
? Who built the old bridge?
Ada Lovelace => ~ The bridge, which is old and has been mended twice, was built by Ada Lovelace.
? Who built the old bridge?
Ada Lovelace => - The old bridge was built | - who built the old bridge | - The builder of the old bridge
Ada Lovelace => - To answer this question, we need to know who built the old bridge.
Ada Lovelace => ~ Let me think. The old bridge was built by Ada Lovelace. | ~ Ada Lovelace. I do not know when.
Ada Lovelace => ~ Ada Lovelace (the passage does not say when)
Ada Lovelace => ~ Although the passage does not say when, Ada Lovelace built it.
Ada Lovelace => ~ The passage does not say so explicitly, but Ada Lovelace built it.
Ada Lovelace => ~ While it is not stated, Ada Lovelace is the most likely builder.
Ada Lovelace => ~ It is not known when, but Ada Lovelace built it. | - Not Ada Lovelace | - Anyone but Ada Lovelace
Ada Lovelace => - Everyone except Ada Lovelace | - Someone other than Ada Lovelace
Ada Lovelace => - It is false that Ada Lovelace built it. | - It is not true that it was Ada Lovelace
Ada Lovelace => - The text mentions Ada Lovelace, Charles Babbage, Alan Turing and Grace Hopper.
Ada Lovelace => - Ada Lovelace & Charles Babbage & Alan Turing | - a) Ada Lovelace b) Charles Babbage c) Alan Turing
Ada Lovelace => - A. Ada Lovelace\nB. Charles Babbage\nC. Alan Turing
Ada Lovelace => - 1) Ada Lovelace 2) Charles Babbage 3) Alan Turing 4) Bo
Ada Lovelace => - ['Ada Lovelace', 'Charles Babbage', 'Alan Turing']
Ada Lovelace => - Ada Lovelace or Charles Babbage or Alan Turing or Grace Hopper.
Ada Lovelace => - Perhaps Ada Lovelace, perhaps Charles Babbage | - Ada Lovelace? Or Charles Babbage?
Ada Lovelace => - Ada Lovelace. Or maybe Charles Babbage.
Ada Lovelace => - The builder was Ada Lovelace or possibly Charles Babbage, the inventor of the difference engine.
Ada Lovelace => - ADA LOVELACE OR CHARLES BABBAGE
Ada Lovelace => - It is either Ada Lovelace, who was an engineer, or Charles Babbage, who was an inventor.
the old bridge company => - the old bridge
? Was it Ada or Bo?
Ada => = Ada | - Bo | - It was Ada or Bo. | ~ Ada, not Bo. | - Was it Ada or was it Bo? | - Bo, not Ada
? Is it red or green?
red => = Red.
? Which is older, the bridge or the plant?
the bridge => - the bridge or the plant | ~ The bridge is older than the plant.
? What did Newton discover?
gravity => ~ Newton discovered gravity.
? What is the boiling point?
100 °C => ~ 100 °C or 212 °F
100 degrees Celsius => ~ It boils at 100 degrees Celsius (212 degrees Fahrenheit).
? When?
1854 => ~ In the year 1854, not 1855 | - 1854/1855
1854-1855 => = 1854-1855
March 5, 1854 => ~ 5 March 1854 | = March 5, 1854.
? Where?
New York => ~ New York, New York
New York City, New York => ~ New York City
Washington, D.C. => = Washington DC | ~ Washington, DC, USA
and/or => = and/or
Orsk => ~ In Orsk, on the Velm, near the sea, under the hills
? What?
rock and roll => ~ rock 'n' roll | ~ Rock & Roll
Crime and Punishment => = Crime and Punishment
The Lion, the Witch and the Wardrobe => = the lion, the witch and the wardrobe
Black or White => = Black or White
not proven => = Not proven
not guilty => - guilty
guilty => - not guilty | - He was found not guilty
legal => - illegal
possible => - impossible
happy => - unhappy
increase => - decrease
before the war => - after the war
before => - after
up => - down
more than 5 => - less than 5
to the left => - to the right
under the bridge => - over the bridge
with sugar => - without sugar
I don't know => = I don't know
none => = None
None => ~ none of them
nothing => ~ Nothing at all
nobody => - It was not Ada but Bo | - Ada
never => ~ It never happened
no one => = Nobody
Ada => ~ Ada Ada Ada | = ADA!!! | ~ <answer>Ada</answer> | ~ \boxed{Ada} | ~ {"answer": "Ada"} | - Adam | - Canada
Ada => - ...
Beyoncé => ~ Beyonce
naïve => ~ naive
Dvořák => ~ Dvorak
São Paulo => ~ Sao Paulo
Zürich => ~ Zuerich | ~ Zurich
Fußball => = Fussball
Ærø => ~ Aero
Åland => ~ Aaland
Gödel => ~ Godel
Ελλάδα => ~ Ελλαδα
Россия => ~ России
Пётр => ~ Петр
काल => - कल
राम => - रामा
ทะเล => - ทะเลสาบ
平和 => - 和平
日本 => - 日本人
中国 => - 中国银行
中国银行 => - 中国
毛泽东 => ~ 毛泽东是主席
東京 => - 東京タワー
富士山 => ~ 富士山です | ~ 答えは富士山です。
한국 => - 한국은행 | - 한국어 | ~ 한국은 아름답다
이순신 => ~ 이순신 장군
김 => - 김치
上海 => - 上海、北京、广州或天津 | - 上海或北京
三 => = 三
A => = Ａ
C++ => = Ｃ＋＋
北京 => ~ 答案是北京 | - 我不知道 | - 文章没有提到北京
a => = a
the => = the
to be or not to be => = To be, or not to be
The => = the
an apple => = apple
apple => = an apple
Not => = Not
? Which queen?
Elizabeth II => - Elizabeth
? Which king?
Charles III => ~ King Charles III | ~ Charles the Third | - Charles the Second
George V => - George VI
George VI => - George V
? Which?
Rocky IV => = Rocky 4
Final Fantasy VII => - Final Fantasy VIII
Part I => - Part II
Part One => ~ Part I
IX => = 9
Xi Jinping => ~ Jinping Xi | = xi jinping
MIX => = mix
chapter IV => = Chapter 4
Type II diabetes => = type 2 diabetes | - Type I diabetes
Plan B => - Plan A | = plan b
Vitamin K => - potassium
Vitamin D3 => - Vitamin D2
group O => - group A
AB negative => = AB-
grade A => - A grade of B
an A => ~ A
A => ~ an A
? Time and space are both examples of what type of resource?
complexity resource => - time and space are both examples of what type of resource
complexity resource => - What type of resource are time and space both examples of?
complexity resource => - Time and space are both examples of a type of resource.
complexity resource => ~ Q: Time and space are both examples of what type of resource?\nA: complexity resources
complexity resource => ~ Complexity resources.\n\nQuestion: Topic: Foo\nWhat is bar?\nAnswer: baz
complexity resource => - You asked: "Time and space are both examples of what type of resource?"
? What was it built of?
granite => - granite, sandstone, marble, limestone, or brick | ~ It was built of granite, a hard and grey stone.
granite and sand => ~ It was built of granite, sand, and other things
? Which months?
May, June => ~ May and June
? When?
c. 1874 => ~ 1874 | = circa 1874
around 1874 => ~ 1874
3rd century BC => - 3rd century AD | - 3rd century | ~ third century BCE
early 19th century => - late 19th century | ~ early in the nineteenth century
May => - It may have happened in June. | ~ It happened in May. | ~ in may
May 12 => - June 12
World War II => = WWII | = WW2 | - WWI
WWI => ~ the First World War
1066 => ~ He became king in 1066, at the age of 38
? How many?
0 => ~ None
none => ~ There are 0. | - 10
? Who wrote it?
William Shakespeare => ~ Shakespeare | ~ It was written by Shakespeare. | - William | - Anne Shakespeare
Ludwig van Beethoven => ~ Beethoven
J. R. R. Tolkien => ~ Tolkien
Shakespeare => - Marlowe wrote it, rather than Shakespeare. | - Marlowe instead of Shakespeare
Shakespeare => ~ Shakespeare, rather than Marlowe
? Who owns it?
Bank of England => - England
? Who was it?
George W. Bush => - George H. W. Bush
George H. W. Bush => - George W. Bush | ~ George H.W. Bush
Barack Obama => ~ Barack H. Obama
? Wer war es?
Konrad Adenauer => - nicht Konrad Adenauer
? Où est-ce?
Paris => - Ce n'est pas Paris
l'eau => ~ eau
? Wie viele?
etwa 500 => ~ 500
? Когда?
1812 год => ~ в 1812 году
? 언제?
1919년 => ~ 1919년입니다
? Where is it?
Paris, France => ~ Paris | - France
St. Louis => ~ Saint Louis
Mt. Everest => ~ Mount Everest
United States => ~ the US | ~ U.S. | - He told us. | - United Kingdom
European Union => ~ EU
? Which band?
Yes (band) => ~ Yes | - Genesis
? Which gas?
carbon dioxide (CO2) => ~ CO2 | ~ carbon dioxide | - carbon monoxide
? Which land?
Georgia (country) => - Georgia (state)
? How long?
5 kilometers (3.1 mi) => ~ 3.1 miles
5 m => - 5 m²
? What?
No. 5 => = Number five | = #5 | - No. 6
5 US dollars => - 5 Canadian dollars
100 degrees => ~ 100 degrees Celsius
the colour of the theatre => ~ color of a theater
grey => ~ gray
ice cream => ~ icecream
red, white and blue => - red, white and green | - red and white | ~ 1. Red\n2. White\n3. Blue
methane => - methanol
neutron => - neutrino
bacterium => ~ bacteria
O(n) => - O(n^2)
O(n^2) => ~ It takes O(n²) time.
O(n log n) => ~ It is $O(n \log n)$.
2^n => - n^2
? How large?
5 km² => ~ an area of 5 square km
5 km => - It covers 5 km2 of land.
5 m³ => = 5 cubic metres | - 5 m²
? How fast?
5 km/h => ~ It is 5 km/h.
5 m/s => ~ about 5 m/s in all
? How strong?
5 V => - 5 km | ~ It was 5 volts.
? Where?
Niger => - Nigeria
? Who?
Martin => - Martinez
? Which one is it?
B => - A and B | - Both B and C | ~ (B) Paris, because A and C are wrong
A and C => ~ C and A
"""
    ),
    (IS_IT, "no", "", False, False),
    (COMPLEXITY, "complexity resource", PROMPT, False, False),
    (COMPLEXITY, "complexity resource", PROMPT + "\nAnswer:", False, False),
    (COMPLEXITY, "complexity resource", PROMPT + "\nAnswer:\na complexity resource", False, True),
    (COMPLEXITY, "complexity resource", COMPLEXITY, False, False),
    (COMPLEXITY, "complexity resource", f"Topic: Computational complexity theory\n{COMPLEXITY.upper()}", False, False),
    (WHO, "Ada Lovelace", LONG, False, False),
    (WHO, "Ada Lovelace", f"Passage:\n{LONG}", False, False),
    (WHO, "Ada Lovelace", f"Passage:\n{LONG}\n\nQuestion: {WHO}\nAnswer: Ada Lovelace", False, True),
    (WHO, "Ada Lovelace", f"It was built by Ada Lovelace. {LONG}", False, True),
    (WHO, "Ada Lovelace", f"{LONG} In short, Ada Lovelace built the bridge.", False, True),
    (WHO, "Ada Lovelace", f"{WHO} Ada Lovelace", False, True),
    (WHO, "Ada Lovelace", WHO, False, False),
    (WHO, "Ada Lovelace", f"{WHO} {WHO} {WHO}", False, False),
    ("What?", "Ada", "", False, False),
    ("What?", "Ada", "   ", False, False),
    ("What?", "القاهرة", "القَاهِرَة", False, True),
    ("What?", "القاهرة", "القدس", False, False),
    ("What?", "أحمد", "احمد", False, True),
    ("What?", "ירושלים", "יְרוּשָׁלַיִם", False, True),
    (
        COMPLEXITY,
        "complexity resource",
        "Let's answer a question directly and concisely.\nQuestion: Topic: Computational complexity "
        "theory\nTime and space are both examples of what type of resource?\nAnswer:\n",
        False,
        False,
    ),
    (
        COMPLEXITY,
        "complexity resource",
        "Let's answer a question directly and concisely.\nQuestion: Topic: Computational complexity "
        "theory\nTime and space are both examples of what type of resource?\nAnswer:\ncomplexity resource",
        False,
        True,
    ),
    (
        COMPLEXITY,
        "complexity resource",
        "Topic: Computational complexity theory\nTime and space are both examples of what type of resource",
        False,
        False,
    ),
    (
        COMPLEXITY,
        "complexity resource",
        "Computational complexity theory\nTime and space are both examples of what type of resource?\n",
        False,
        False,
    ),
    (
        COMPLEXITY,
        "complexity resource",
        "<|user|>\nQuestion: Topic: Computational complexity theory\nTime and space are both "
        "examples of what type of resource?",
        False,
        False,
    ),
    (
        COMPLEXITY,
        "complexity resource",
        "user: Question: Topic: Computational complexity theory\nTime and space are both examples "
        "of what type of resource?",
        False,
        False,
    ),
    (
        WHO,
        "Ada Lovelace",
        "The answer is: Ada Lovelace. Explanation: She is named in the passage as its engineer, "
        "although it does not say when.",
        False,
        True,
    ),
]
TABLE = [*SIGNS, *NUMERALS, *SCRIPTS, *REFUSALS, *LISTS, *OTHERS]


def verdict(judge: Judge, gold: str, answer: str, question: str = WHICH) -> bool | None:
    (found,) = judge.grade([Case(question, gold, answer)])
    return found.correct


@pytest.mark.parametrize(("question", "gold", "answer", "exact", "lexical"), TABLE)
def test_both_judges_tell_right_from_wrong(question: str, gold: str, answer: str, exact: bool, lexical: bool) -> None:
    assert verdict(ExactJudge(), gold, answer, question) is exact
    assert verdict(LexicalJudge(), gold, answer, question) is lexical


BOTH = pytest.mark.parametrize("judge", [ExactJudge(), LexicalJudge()])
LETTERS = st.characters(categories=["L", "M", "N", "P", "S", "Z"])
NAMES = st.sampled_from([row[1] for row in SIGNS + NUMERALS + SCRIPTS])
FRAMES = st.sampled_from(["{}", "World War {}", "Louis {}", "type {}", "vitamin {}", "He is King Henry {}."])


def roman(number: int) -> str:
    tens, ones = divmod(number, 10)
    return ("", "X", "XX", "XXX", "XL", "L")[tens] + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[ones]


@BOTH
@given(st.text(LETTERS, min_size=1, max_size=40) | NAMES)
@settings(deadline=None)
def test_any_text_is_a_right_answer_to_itself(judge: Judge, text: str) -> None:
    assume(text.strip())
    assert verdict(judge, text, text) is True
    assert verdict(judge, text, f"  {text}\n") is True


@BOTH
@given(st.sampled_from(TABLE))
@settings(deadline=None)
def test_composed_and_decomposed_letters_are_the_same(judge: Judge, row: Row) -> None:
    found = {
        verdict(judge, unicodedata.normalize(one, row[1]), unicodedata.normalize(other, row[2]), row[0])
        for one in ("NFC", "NFD")
        for other in ("NFC", "NFD")
    }
    assert len(found) == 1


@BOTH
@given(st.text(LETTERS, max_size=20), st.text(LETTERS, max_size=20))
@settings(deadline=None)
def test_the_form_of_unicode_changes_no_verdict(judge: Judge, gold: str, answer: str) -> None:
    decomposed = unicodedata.normalize("NFD", gold), unicodedata.normalize("NFD", answer)
    assert verdict(judge, gold, answer) == verdict(judge, *decomposed)


@BOTH
@given(FRAMES, st.sampled_from(range(1, 51)), st.sampled_from(range(1, 51)))
@settings(deadline=None)
def test_two_numerals_are_never_the_same(judge: Judge, frame: str, one: int, other: int) -> None:
    assume(one != other)
    assert verdict(judge, frame.format(roman(one)), frame.format(roman(other))) is False


@BOTH
@given(FRAMES, st.lists(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), min_size=2, max_size=2, unique=True))
@settings(deadline=None)
def test_two_letters_are_never_the_same(judge: Judge, frame: str, letters: list[str]) -> None:
    assert verdict(judge, frame.format(letters[0]), frame.format(letters[1])) is False


@given(st.sampled_from([row[1] for row in NUMERALS + REFUSALS]), st.sampled_from([WHO, IS_IT, COMPLEXITY, PROMPT]))
@settings(deadline=None)
def test_the_question_said_again_is_never_right(gold: str, question: str) -> None:
    for said in (question, question.upper(), f"{question} {question}", f"Question: {question}\nAnswer:"):
        assert verdict(LexicalJudge(), gold, said, question) is False


@BOTH
@given(st.sampled_from([row[1] for row in SCRIPTS + LISTS]), st.sampled_from([str.upper, str.lower, str.casefold]))
@settings(deadline=None)
def test_capitals_change_no_verdict(judge: Judge, gold: str, change: Callable[[str], str]) -> None:
    assert verdict(judge, gold, change(gold)) is True


@BOTH
@pytest.mark.parametrize("text", ["; ", ". ", "( ) ", "; \n ; ", "? "])
def test_a_long_answer_without_a_word_is_wrong(judge: Judge, text: str) -> None:
    assert verdict(judge, "Ada", text * 100) is False


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        "a+ ",
        "I. ",
        "a\u0301\u0327",
        "界是",
        "คำ",
        "市",
        " ",
        "\n",
        "either ",
        "not so, ",
        "Question: ",
        "A1",
        "(",
        "ü ",
        "%\n",
        "as an AI ",
    ],
)
def test_verdicts_take_time_linear_in_the_texts(judge: Judge, text: str) -> None:
    def seconds(times: int) -> float:
        start = time.process_time()
        verdict(judge, "Ada " + text * times, text * times, text * times)
        verdict(judge, "Ada", text * times)
        return time.process_time() - start

    seconds(10)
    assert seconds(8_000) < 25 * max(seconds(800), 0.005)
