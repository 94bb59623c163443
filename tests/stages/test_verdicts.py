"""Verdicts of the offline judges, kind by kind: what tells two answers apart, and what is no answer at all."""

import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stages.judges.base import Case, Judge
from stages.judges.exact import Exact
from stages.judges.lexical import Lexical

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

SIGNS = [  # gold, answer, exact, lexical
    ("A", "A", True, True),
    ("A", "a", True, True),
    ("A", "(A)", True, True),
    ("A", "The answer is A.", False, True),
    ("A", "Option A", False, True),
    ("A", "**A**", True, True),
    ("A", "He got an A in maths.", False, True),
    ("A", "B", False, False),
    ("A", "It is a dog", False, False),
    ("A", "A dog barked.", False, False),
    ("A", "The answer is B, a town", False, False),
    ("A", "A+", False, False),
    ("A", "A or B", False, False),
    ("(B)", "B", True, True),
    ("B", "(B) Paris", False, True),
    ("B", "C", False, False),
    ("D", "I'd say so", False, False),
    ("S", "it's so", False, False),
    ("A+", "A", False, False),
    ("A+", "A-", False, False),
    ("A-", "A−", True, True),
    ("A*", "A", False, False),
    ("A*", "A*", True, True),
    ("vitamin A", "vitamin B", False, False),
    ("vitamin A", "vitamin", False, False),
    ("vitamin A", "It is Vitamin A.", False, True),
    ("vitamin A deficiency", "vitamin B deficiency", False, False),
    ("vitamin B12", "vitamin B6", False, False),
    ("vitamin B12", "Vitamin B₁₂", True, True),
    ("vitamin B12", "vitamin B-12", True, True),
    ("hepatitis A", "hepatitis", False, False),
    ("hepatitis B", "hepatitis C", False, False),
    ("blood group O-", "blood group O+", False, False),
    ("O-", "O", False, False),
    ("O-", "O negative", True, True),
    ("AB+", "B+", False, False),
    ("C++", "C", False, False),
    ("C", "C++", False, False),
    ("C#", "C", False, False),
    ("C#", "C++", False, False),
    ("C++", "It was written in C++.", False, True),
    (".NET", "net", False, False),
    (".NET", "the .NET framework", False, True),
    ("F#", "F", False, False),
    ("Na+", "Na", False, False),
    ("Na+", "Na⁺", True, True),
    ("Ca2+", "Ca²⁺", True, True),
    ("CO", "CO2", False, False),
    ("CO2", "CO", False, False),
    ("CO2", "CO₂", True, True),
    ("H2O", "H₂O", True, True),
    ("H2O", "H2O2", False, False),
    ("O2", "O3", False, False),
    ("F-16", "F16", True, True),
    ("F-16", "F-15", False, False),
    ("+", "+", True, True),
    ("+", "-", False, False),
    ("+", "It is +.", False, True),
    (">", ">=", False, False),
    ("∞", "∞", True, True),
    ("...", "…", True, True),
    ("?", "!", False, False),
    ("The The", "The", False, False),
    ("The The", "the the", True, True),
    ("a band", "the band", True, True),
    ("John F. Kennedy", "John Kennedy", False, True),
    ("George W. Bush", "President George Bush", False, True),
    ("J. S. Bach", "J.S. Bach", False, True),
    ("A, B and C", "B and C", False, False),
    ("a-moll", "A-Moll", True, True),
    ("C", "vitamin C", False, True),
    ("vitamin C", "vitamin D", False, False),
    ("B", "B)", True, True),
    ("B", "b", True, True),
    ("B", "The correct option is (B).", False, True),
    ("C", "(A) (B) (C) (D)", False, False),
    ("A", "A, B, C, D", False, False),
    ("NaCl", "NaOH", False, False),
    ("H2SO4", "H2SO3", False, False),
    ("Fe2O3", "Fe3O4", False, False),
    ("Fe2+", "Fe3+", False, False),
    ("Cl-", "Cl", False, False),
    ("OH-", "OH", False, False),
    ("π", "π", True, True),
    ("x", "y", False, False),
    ("°", "°", True, True),
    ("€", "$", False, False),
    ("$", "$", True, True),
    ("$", "€", False, False),
    ("%", "%", True, True),
    ("%", "It is %", False, True),
    ("&", "&", True, True),
    ("#", "#", True, True),
    ("*", "**", False, False),
    ("->", "<-", False, False),
    ("😀", "😀", True, True),
    ("😀", "😁", False, False),
    ("♂", "♀", False, False),
    ("R", "R", True, True),
    ("R", "The language R.", False, True),
    ("Go", "go", True, True),
    ("I", "I", True, True),
    ("I", "II", False, False),
    ("I", "I think so", False, False),
    ("it", "it", True, True),
    ("The Who", "The Who, a band", False, True),
    ("An", "An", True, True),
    ("US", "us", True, True),
    ("AT&T", "AT&T", True, True),
    ("R&B", "R&B", True, True),
    ("B-52", "B-2", False, False),
    ("Boeing 747", "Boeing 737", False, False),
    ("G7", "G8", False, False),
    ("MP3", "MP4", False, False),
    ("COVID-19", "COVID-19", True, True),
    ("T-34", "T34", True, True),
    ("Apollo 11", "Apollo 13", False, False),
    ("Type O negative", "Type O positive", False, False),
    ("B flat", "B♭", True, True),
    ("B flat", "B", False, False),
    ("C sharp minor", "C♯ minor", True, True),
    ("C major", "C minor", False, False),
    ("A minor", "A major", False, False),
    ("A minor", "a minor", True, True),
]
NUMERALS = [
    ("World War I", "World War II", False, False),
    ("World War II", "World War I", False, False),
    ("World War II", "World War", False, False),
    ("World War II", "It was World War II.", False, True),
    ("World War II", "world war ii", True, True),
    ("World War II", "the Second World War", False, True),
    ("World War I", "the First World War", False, True),
    ("World War I", "In World War I, it was lost.", False, True),
    ("Louis XIV", "Louis XVI", False, False),
    ("Louis XIV of France", "Louis XV of France", False, False),
    ("Elizabeth I", "Elizabeth II", False, False),
    ("Elizabeth I", "Elizabeth I was queen then.", False, True),
    ("Henry VIII", "King Henry VIII", False, True),
    ("Henry VIII", "King Henry VII", False, False),
    ("Pope Benedict XVI", "Pope Benedict XV", False, False),
    ("Super Bowl XLIX", "Super Bowl XLVIII", False, False),
    ("type I", "type II", False, False),
    ("Ⅳ", "IV", True, True),
    ("Malcolm X", "Malcolm", False, False),
]
YES_AND_NO = [
    ("no", "Yes, there is no doubt", False, False),
    ("no", "No.", True, True),
    ("no", "No, it was not", False, True),
    ("no", "Not at all", False, True),
    ("no", "Never", False, True),
    ("no", "It isn't safe.", False, True),
    ("no", "The answer is no.", False, True),
    ("no", "That is false.", False, True),
    ("no", "It's not true.", False, True),
    ("no", "I don't know", False, False),
    ("no", "I do not know.", False, False),
    ("no", "No idea.", False, False),
    ("no", "It is safe.", False, False),
    ("no", "No doubt about it", False, False),
    ("no", "Without a doubt", False, False),
    ("no", "Yes and no", False, False),
    ("no", "Yes, it is not only safe but new", False, False),
    ("No, it was not", "No", False, True),
    ("yes", "Yes!", True, True),
    ("yes", "Yes, it is.", False, True),
    ("yes", "No", False, False),
    ("yes", "It is safe.", False, True),
    ("yes", "It is not safe.", False, False),
    ("yes", "There is no doubt.", False, True),
    ("yes", "Of course", False, True),
    ("yes", "Maybe", False, False),
    ("yes", "I don't know", False, False),
    ("yes", "The passage does not say.", False, False),
    ("yes", "Not true", False, False),
    ("true", "True.", True, True),
    ("true", "False", False, False),
    ("True", "The statement is true.", False, True),
    ("False", "The statement is true.", False, False),
    ("False", "The statement is not true.", False, True),
    ("No Country for Old Men", "No", False, False),
    ("No Country for Old Men", "It is No Country for Old Men", False, True),
    ("Yes Minister", "Yes", False, False),
    ("nobody", "Nobody", True, True),
    ("no", "Nope", False, True),
    ("no", "No way", False, True),
    ("no", "Definitely not", False, True),
    ("no", "Certainly not.", False, True),
    ("no", "Absolutely not!", False, True),
    ("yes", "Definitely not", False, False),
    ("yes", "Certainly not", False, False),
    ("yes", "Indeed not", False, False),
    ("no", "Of course not", False, True),
    ("yes", "Of course not", False, False),
    ("no", "Hardly.", False, True),
    ("no", "I am not sure", False, False),
    ("no", "Not sure", False, False),
    ("yes", "Sure, no problem", False, True),
    ("no", "Negative", False, True),
    ("yes", "Affirmative", False, True),
    ("yes", "Yes, although not in winter", False, True),
    ("no", "no no no", False, True),
    ("yes", "NO", False, False),
    ("yes", "That's right", False, True),
    ("yes", "That is not right", False, False),
    ("no", "The passage does not say", False, False),
    ("no", "It's impossible to tell", False, False),
    ("no", "It is not clear", False, False),
    ("no", "", False, False),
    ("yes", "Is the bridge safe?", False, False),
    ("no", "Is the bridge not safe?", False, False),
    ("yes", "yes or no", False, False),
    ("False", "No", False, True),
    ("true", "Yes", False, True),
    ("yes", "I cannot say yes", False, False),
]
SCRIPTS = [
    ("Müller", "Mueller", False, True),
    ("Müller", "Muller", False, True),
    ("Müller", "Miller", False, False),
    ("Straße", "STRASSE", True, True),
    ("Göteborg", "Goeteborg", False, True),
    ("Søren", "Soren", False, True),
    ("İstanbul", "istanbul", True, True),
    ("Diyarbakır", "DIYARBAKIR", True, True),
    ("Łódź", "Lodz", False, True),
    ("Đà Nẵng", "Da Nang", False, True),
    ("Αθήνα", "ΑΘΗΝΑ", False, True),
    ("Οδυσσεύς", "ΟΔΥΣΣΕΎΣ", True, True),
    ("café", "cafe\u0301", True, True),
    ("Ａｄａ", "Ada", True, True),
    ("ﬁsh", "fish", True, True),
    ("مُحَمَّد", "محمد", False, True),
    ("محمد", "محمود", False, False),
    ("مـــحمد", "محمد", False, True),
    ("שָׁלוֹם", "שלום", False, True),
    ("हिन्दी", "हिन्दी", True, True),
    ("हिन्दी", "यह हिन्दी है", False, True),
    ("कि", "की", False, False),
    ("हिन्दी", "हिन्दु", False, False),
    ("दिल्ली", "दिल्ल", False, False),
    ("தமிழ்", "தமிழ", False, False),
    ("می‌خواهم", "میخواهم", True, True),
    ("Москва", "в Москве", False, True),
    ("북한", "북한산", False, False),
    ("서울", "서울입니다.", False, True),
    ("서울", "서울에서 태어났다", False, True),
    ("서울", "서울대학교", False, False),
    ("서울대학교", "서울", False, False),
    ("세종대왕", "세종대왕이 만들었다", False, True),
    ("北京", "北京", True, True),
    ("北京", "北京。", True, True),
    ("北京", "「北京」", True, True),
    ("北京", "那是北京。", False, True),
    ("北京", "北京是中国的首都。", False, True),
    ("北京", "北京市", False, True),
    ("北京", "北京大学", False, False),
    ("北京", "他在北京大学学习。", False, False),
    ("北京大学", "北京", False, False),
    ("北京大学", "清华大学", False, False),
    ("北京", "不是北京", False, False),
    ("上海", "海上", False, False),
    ("李白", "李白写了这首诗。", False, True),
    ("東京", "東京です。", False, True),
    ("東京", "首都は東京である", False, True),
    ("東京", "東京大学です", False, False),
    ("東京大学", "東北大学", False, False),
    ("京都", "東京都", False, False),
    ("京都", "東京都です。", False, False),
    ("京都", "京都にあります。", False, True),
    ("東京", "東京ではない", False, False),
    ("アメリカ", "ラテンアメリカ", False, False),
    ("バラク・オバマ", "バラクオバマ", True, True),
    ("กรุงเทพ", "เมืองหลวงคือกรุงเทพ", False, True),
    ("เชียงใหม่", "มหาวิทยาลัยเชียงใหม่", False, False),
    ("เชียงใหม่", "เชียงราย", False, False),
]
PARROTS = [
    ("complexity resource", PROMPT, False, False),
    ("complexity resource", PROMPT + "\nAnswer:", False, False),
    ("complexity resource", PROMPT + "\nAnswer:\na complexity resource", False, True),
    ("complexity resource", "They are both examples of a complexity resource.", False, True),
    ("complexity resource", COMPLEXITY, False, False),
    ("complexity resource", f"Topic: Computational complexity theory\n{COMPLEXITY.upper()}", False, False),
]
REFUSALS = [
    ("Ada Lovelace", "I cannot say whether it was Ada Lovelace", False, False),
    ("Ada Lovelace", "I can't say whether it was Ada Lovelace.", False, False),
    ("Ada Lovelace", "I don’t know if Ada Lovelace built it.", False, False),
    ("Ada Lovelace", "I'm not sure that it was Ada Lovelace", False, False),
    ("Ada Lovelace", "I don't think it was Ada Lovelace.", False, False),
    ("Ada Lovelace", "I am unable to confirm that Ada Lovelace built it.", False, False),
    ("Ada Lovelace", "The passage does not mention Ada Lovelace", False, False),
    ("Ada Lovelace", "The passage does not mention any person who is called Ada Lovelace.", False, False),
    ("Ada Lovelace", "Ada Lovelace is not mentioned in the passage.", False, False),
    ("Ada Lovelace", "The text never says that Ada Lovelace built it.", False, False),
    ("Ada Lovelace", "There is no information about Ada Lovelace.", False, False),
    ("Ada Lovelace", "It is unclear whether Ada Lovelace built it.", False, False),
    ("Ada Lovelace", "It cannot be determined whether Ada Lovelace built it.", False, False),
    ("Ada Lovelace", "As an AI language model, I cannot tell you about Ada Lovelace.", False, False),
    ("Ada Lovelace", "I'm sorry, but I can't answer questions about Ada Lovelace.", False, False),
    ("Ada Lovelace", "Was it Ada Lovelace? I do not know.", False, False),
    ("Ada Lovelace", "It was not Ada Lovelace.", False, False),
    ("Ada Lovelace", "I'm not sure, but it was Ada Lovelace.", False, True),
    ("Ada Lovelace", "As an AI, I have no opinion. The builder was Ada Lovelace.", False, True),
    ("Ada Lovelace", "Ada Lovelace, who was not known for bridges", False, True),
    ("unknown", "It is unknown.", False, True),
    ("not known", "This is not known.", False, True),
    ("Ada Lovelace", "Answer: Ada Lovelace", False, True),
    ("Ada Lovelace", "Lovelace, Ada", False, True),
    ("Ada Lovelace", "Ada", False, False),
    ("Ada Lovelace", "ada lovelace.", True, True),
    ("Ada Lovelace", "The old bridge was built by Ada Lovelace in 1854, when the town had grown rich.", False, True),
    ("Ada Lovelace", "Bo Orsk, and certainly not Ada Lovelace", False, False),
    ("Ada Lovelace", "It wasn't built by Ada Lovelace", False, False),
    ("Ada Lovelace", "Neither Ada Lovelace nor Bo", False, False),
    ("Ada Lovelace", "Ada Lovelace did not build it", False, False),
    ("Ada Lovelace", "Either Ada Lovelace or Charles Babbage built it", False, False),
    ("Ada Lovelace", "It was built by either Ada Lovelace or Charles Babbage.", False, False),
    ("Ada Lovelace", "It was built by Ada Lovelace or Charles Babbage.", False, False),
    ("Ada Lovelace", "Ada Lovelace or Charles Babbage built it", False, False),
    ("Ada Lovelace", "Ada Lovelace, Charles Babbage, Alan Turing, Grace Hopper", False, False),
    ("Ada and Bo", "Ada and Bo", True, True),
    ("Ada, Bo and Cy", "Ada, Bo and Cy built it", False, True),
    ("Ada, Bo and Cy", "Cy, Bo, Ada", False, True),
    ("Robert", "Robertson", False, False),
    ("Johnson", "Johnston", False, False),
    ("Alexander", "Alexandra", False, False),
    ("Christian", "Christina", False, False),
]
LISTS = [
    ("Paris", "Paris, London, Rome, Berlin or Madrid", False, False),
    ("Paris", "Paris, London, Rome, Berlin, Madrid", False, False),
    ("Paris", "1. Paris\n2. London\n3. Rome", False, False),
    ("Paris", "- Paris\n- London\n- Rome\n", False, False),
    ("Paris", "The possible answers are Paris, London, Rome and Berlin.", False, False),
    ("Paris", "Paris / London / Rome", False, False),
    ("Paris", "Paris or London", False, False),
    ("Paris", "either Paris or London", False, False),
    ("Paris", "It is either London or Paris.", False, False),
    ("Paris", "It could be Paris or London.", False, False),
    ("1854", "1854 or 1855", False, False),
    ("Ada Lovelace", "Ada Lovelace, Charles Babbage and Alan Turing", False, False),
    ("Paris", "Paris, France", False, True),
    ("Paris", "Paris, Île-de-France, France", False, True),
    ("Paris", "Paris.", True, True),
    ("Ada Lovelace", "Ada Lovelace, mathematician and writer", False, True),
    ("red, green and blue", "Blue, red, and green", False, True),
    ("red, green and blue", "red, green, blue", False, True),
    ("red or green", "green", False, True),
    ("granite", "It was built of granite, sand and lime by Ada and her men.", False, True),
    ("Lord Orsk", "Many spoke for them, such as Edwin Velm and Lord Orsk.", False, True),
]
CAPITALS = [
    ("Paris", "The capital of France is Paris.", False, True),
    ("Paris", "Paris, the capital", False, True),
    ("Paris", "Paris? London? Rome?", False, False),
    ("Paris", "It might be Paris, but it might also be London.", False, False),
    ("Paris", "London, not Paris", False, False),
    ("Paris", "Not London, Paris", False, True),
    ("Paris", "I believe it's Paris.", False, True),
    ("Paris", "Paris\nLondon\nRome\nBerlin\nMadrid", False, False),
    ("Paris", "Paris; London; Rome; Berlin", False, False),
    ("Paris", "Paris|London|Rome", False, False),
    ("Paris", "One of these: Paris, London, Rome, Berlin, Madrid.", False, False),
    ("Paris", "The capital of France is Paris, London, Rome, Berlin or Madrid.", False, False),
    ("Paris", "The capital of France is either Paris or London.", False, False),
    ("Paris", "It is Paris or maybe London", False, False),
    ("Paris", "Possibly Paris, possibly London, possibly Rome", False, False),
    ("Paris", "I refuse to answer whether it is Paris", False, False),
    ("Paris", "I have no idea whether Paris is the capital.", False, False),
    ("Paris", "Unable to determine if Paris is the capital.", False, False),
    ("Paris", "There is not enough information to say that Paris is the capital.", False, False),
    ("Paris", "As a language model, I can't know about Paris", False, False),
    ("Paris", "Nobody knows whether it is Paris.", False, False),
    ("Paris", "It's unknown if it's Paris", False, False),
    ("Paris", "The author doesn't specify that Paris is the capital.", False, False),
    ("Paris", "N/A", False, False),
    ("Paris", "What is the capital of France? Paris.", False, True),
    ("Paris", "Q: What is the capital of France?\nA: Paris", False, True),
]
LONG_ANSWERS = [
    ("Ada Lovelace", LONG, False, False),
    ("Ada Lovelace", f"Passage:\n{LONG}", False, False),
    ("Ada Lovelace", f"Passage:\n{LONG}\n\nQuestion: {WHO}\nAnswer: Ada Lovelace", False, True),
    ("Ada Lovelace", f"It was built by Ada Lovelace. {LONG}", False, True),
    ("Ada Lovelace", f"{LONG} In short, Ada Lovelace built the bridge.", False, True),
    ("Ada Lovelace", "The bridge, which is old and has been mended twice, was built by Ada Lovelace.", False, True),
    ("Ada Lovelace", f"{WHO} Ada Lovelace", False, True),
    ("Ada Lovelace", WHO, False, False),
    ("Ada Lovelace", f"{WHO} {WHO} {WHO}", False, False),
]
QUESTIONS = [  # question, gold, answer, exact, lexical
    ("Who built the old bridge?", "Ada Lovelace", "The old bridge was built", False, False),
    ("Who built the old bridge?", "the old bridge company", "the old bridge", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "who built the old bridge", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "The builder of the old bridge", False, False),
    ("Was it Ada or Bo?", "Ada", "Ada", True, True),
    ("Was it Ada or Bo?", "Ada", "Bo", False, False),
    ("Was it Ada or Bo?", "Ada", "It was Ada or Bo.", False, False),
    ("Was it Ada or Bo?", "Ada", "Ada, not Bo.", False, True),
    ("Was it Ada or Bo?", "Ada", "Was it Ada or was it Bo?", False, False),
    ("Was it Ada or Bo?", "Ada", "Bo, not Ada", False, False),
    ("Is it red or green?", "red", "Red.", True, True),
    ("Which is older, the bridge or the plant?", "the bridge", "the bridge or the plant", False, False),
    ("Which is older, the bridge or the plant?", "the bridge", "The bridge is older than the plant.", False, True),
    ("What did Newton discover?", "gravity", "Newton discovered gravity.", False, True),
    ("What is the boiling point?", "100 °C", "100 °C or 212 °F", False, True),
    (
        "What is the boiling point?",
        "100 degrees Celsius",
        "It boils at 100 degrees Celsius (212 degrees Fahrenheit).",
        False,
        True,
    ),
    ("When?", "1854", "In the year 1854, not 1855", False, True),
    ("When?", "1854", "1854/1855", False, False),
    ("When?", "1854-1855", "1854-1855", True, True),
    ("When?", "March 5, 1854", "5 March 1854", False, True),
    ("When?", "March 5, 1854", "March 5, 1854.", True, True),
    ("Where?", "New York", "New York, New York", False, True),
    ("Where?", "New York City, New York", "New York City", False, True),
    ("Where?", "Washington, D.C.", "Washington DC", True, True),
    ("Where?", "Washington, D.C.", "Washington, DC, USA", False, True),
    ("Where?", "and/or", "and/or", True, True),
    ("Where?", "Orsk", "In Orsk, on the Velm, near the sea, under the hills", False, True),
    ("What?", "rock and roll", "rock 'n' roll", False, True),
    ("What?", "rock and roll", "Rock & Roll", False, True),
    ("What?", "Crime and Punishment", "Crime and Punishment", True, True),
    ("What?", "The Lion, the Witch and the Wardrobe", "the lion, the witch and the wardrobe", True, True),
    ("What?", "Black or White", "Black or White", True, True),
    ("What?", "not proven", "Not proven", True, True),
    ("What?", "not guilty", "guilty", False, False),
    ("What?", "guilty", "not guilty", False, False),
    ("What?", "guilty", "He was found not guilty", False, False),
    ("What?", "legal", "illegal", False, False),
    ("What?", "possible", "impossible", False, False),
    ("What?", "happy", "unhappy", False, False),
    ("What?", "increase", "decrease", False, False),
    ("What?", "before the war", "after the war", False, False),
    ("What?", "before", "after", False, False),
    ("What?", "up", "down", False, False),
    ("What?", "more than 5", "less than 5", False, False),
    ("What?", "to the left", "to the right", False, False),
    ("What?", "under the bridge", "over the bridge", False, False),
    ("What?", "with sugar", "without sugar", False, False),
    ("What?", "I don't know", "I don't know", True, True),
    ("What?", "none", "None", True, True),
    ("What?", "None", "none of them", False, True),
    ("What?", "nothing", "Nothing at all", False, True),
    ("What?", "nobody", "It was not Ada but Bo", False, False),
    ("What?", "never", "It never happened", False, True),
    ("What?", "no one", "Nobody", True, True),
    ("What?", "nobody", "Ada", False, False),
    ("What?", "Ada", "Ada Ada Ada", False, True),
    ("What?", "Ada", "ADA!!!", True, True),
    ("What?", "Ada", "<answer>Ada</answer>", False, True),
    ("What?", "Ada", "\\boxed{Ada}", False, True),
    ("What?", "Ada", '{"answer": "Ada"}', False, True),
    ("What?", "Ada", "Adam", False, False),
    ("What?", "Ada", "Canada", False, False),
    ("What?", "Ada", "", False, False),
    ("What?", "Ada", "   ", False, False),
    ("What?", "Ada", "...", False, False),
    ("What?", "Beyoncé", "Beyonce", False, True),
    ("What?", "naïve", "naive", False, True),
    ("What?", "Dvořák", "Dvorak", False, True),
    ("What?", "São Paulo", "Sao Paulo", False, True),
    ("What?", "Zürich", "Zuerich", False, True),
    ("What?", "Zürich", "Zurich", False, True),
    ("What?", "Fußball", "Fussball", True, True),
    ("What?", "Ærø", "Aero", False, True),
    ("What?", "Åland", "Aaland", False, True),
    ("What?", "Gödel", "Godel", False, True),
    ("What?", "Ελλάδα", "Ελλαδα", False, True),
    ("What?", "Россия", "России", False, True),
    ("What?", "Пётр", "Петр", False, True),
    ("What?", "القاهرة", "القَاهِرَة", False, True),
    ("What?", "القاهرة", "القدس", False, False),
    ("What?", "أحمد", "احمد", False, True),
    ("What?", "ירושלים", "יְרוּשָׁלַיִם", False, True),
    ("What?", "काल", "कल", False, False),
    ("What?", "राम", "रामा", False, False),
    ("What?", "ทะเล", "ทะเลสาบ", False, False),
    ("What?", "平和", "和平", False, False),
    ("What?", "日本", "日本人", False, False),
    ("What?", "中国", "中国银行", False, False),
    ("What?", "中国银行", "中国", False, False),
    ("What?", "毛泽东", "毛泽东是主席", False, True),
    ("What?", "東京", "東京タワー", False, False),
    ("What?", "富士山", "富士山です", False, True),
    ("What?", "富士山", "答えは富士山です。", False, True),
    ("What?", "한국", "한국은행", False, False),
    ("What?", "한국", "한국어", False, False),
    ("What?", "한국", "한국은 아름답다", False, True),
    ("What?", "이순신", "이순신 장군", False, True),
    ("What?", "김", "김치", False, False),
    ("What?", "上海", "上海、北京、广州或天津", False, False),
    ("What?", "上海", "上海或北京", False, False),
    ("What?", "三", "三", True, True),
    ("What?", "A", "Ａ", True, True),
    ("What?", "C++", "Ｃ＋＋", True, True),
    ("What?", "北京", "答案是北京", False, True),
    ("What?", "北京", "我不知道", False, False),
    ("What?", "北京", "文章没有提到北京", False, False),
    ("Which queen?", "Elizabeth II", "Elizabeth", False, False),
    ("Which king?", "Charles III", "King Charles III", False, True),
    ("Which king?", "Charles III", "Charles the Third", False, True),
    ("Which king?", "Charles III", "Charles the Second", False, False),
    ("Which king?", "George V", "George VI", False, False),
    ("Which king?", "George VI", "George V", False, False),
    ("Which?", "Rocky IV", "Rocky 4", True, True),
    ("Which?", "Final Fantasy VII", "Final Fantasy VIII", False, False),
    ("Which?", "Part I", "Part II", False, False),
    ("Which?", "Part One", "Part I", False, True),
    ("Which?", "IX", "9", True, True),
    ("Which?", "Xi Jinping", "Jinping Xi", False, True),
    ("Which?", "Xi Jinping", "xi jinping", True, True),
    ("Which?", "MIX", "mix", True, True),
    ("Which?", "chapter IV", "Chapter 4", True, True),
    ("Which?", "Type II diabetes", "type 2 diabetes", True, True),
    ("Which?", "Type II diabetes", "Type I diabetes", False, False),
    ("Which?", "Plan B", "Plan A", False, False),
    ("Which?", "Plan B", "plan b", True, True),
    ("Which?", "Vitamin K", "potassium", False, False),
    ("Which?", "Vitamin D3", "Vitamin D2", False, False),
    ("Which?", "group O", "group A", False, False),
    ("Which?", "AB negative", "AB-", True, True),
    ("Which?", "grade A", "A grade of B", False, False),
    ("Which?", "an A", "A", False, True),
    ("Which?", "A", "an A", False, True),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "Let's answer a question directly and concisely.\nQuestion: Topic: Computational complexity "
        "theory\nTime and space are both examples of what type of resource?\nAnswer:\n",
        False,
        False,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "Let's answer a question directly and concisely.\nQuestion: Topic: Computational complexity "
        "theory\nTime and space are both examples of what type of resource?\nAnswer:\ncomplexity resource",
        False,
        True,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "Topic: Computational complexity theory\nTime and space are both examples of what type of resource",
        False,
        False,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "Computational complexity theory\nTime and space are both examples of what type of resource?\n",
        False,
        False,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "time and space are both examples of what type of resource",
        False,
        False,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "What type of resource are time and space both examples of?",
        False,
        False,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "Time and space are both examples of a type of resource.",
        False,
        False,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "<|user|>\nQuestion: Topic: Computational complexity theory\nTime and space are both "
        "examples of what type of resource?",
        False,
        False,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "user: Question: Topic: Computational complexity theory\nTime and space are both examples "
        "of what type of resource?",
        False,
        False,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "Q: Time and space are both examples of what type of resource?\nA: complexity resources",
        False,
        True,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        "Complexity resources.\n\nQuestion: Topic: Foo\nWhat is bar?\nAnswer: baz",
        False,
        True,
    ),
    (
        "Time and space are both examples of what type of resource?",
        "complexity resource",
        'You asked: "Time and space are both examples of what type of resource?"',
        False,
        False,
    ),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "To answer this question, we need to know who built the old bridge.",
        False,
        False,
    ),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "Let me think. The old bridge was built by Ada Lovelace.",
        False,
        True,
    ),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "The answer is: Ada Lovelace. Explanation: She is named in the passage as its engineer, "
        "although it does not say when.",
        False,
        True,
    ),
    ("Who built the old bridge?", "Ada Lovelace", "Ada Lovelace. I do not know when.", False, True),
    ("Who built the old bridge?", "Ada Lovelace", "Ada Lovelace (the passage does not say when)", False, True),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "Although the passage does not say when, Ada Lovelace built it.",
        False,
        True,
    ),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "The passage does not say so explicitly, but Ada Lovelace built it.",
        False,
        True,
    ),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "While it is not stated, Ada Lovelace is the most likely builder.",
        False,
        True,
    ),
    ("Who built the old bridge?", "Ada Lovelace", "It is not known when, but Ada Lovelace built it.", False, True),
    ("Who built the old bridge?", "Ada Lovelace", "Not Ada Lovelace", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "Anyone but Ada Lovelace", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "Everyone except Ada Lovelace", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "Someone other than Ada Lovelace", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "It is false that Ada Lovelace built it.", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "It is not true that it was Ada Lovelace", False, False),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "The text mentions Ada Lovelace, Charles Babbage, Alan Turing and Grace Hopper.",
        False,
        False,
    ),
    ("Who built the old bridge?", "Ada Lovelace", "Ada Lovelace & Charles Babbage & Alan Turing", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "a) Ada Lovelace b) Charles Babbage c) Alan Turing", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "A. Ada Lovelace\nB. Charles Babbage\nC. Alan Turing", False, False),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "1) Ada Lovelace 2) Charles Babbage 3) Alan Turing 4) Bo",
        False,
        False,
    ),
    ("Who built the old bridge?", "Ada Lovelace", "['Ada Lovelace', 'Charles Babbage', 'Alan Turing']", False, False),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "Ada Lovelace or Charles Babbage or Alan Turing or Grace Hopper.",
        False,
        False,
    ),
    ("Who built the old bridge?", "Ada Lovelace", "Perhaps Ada Lovelace, perhaps Charles Babbage", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "Ada Lovelace? Or Charles Babbage?", False, False),
    ("Who built the old bridge?", "Ada Lovelace", "Ada Lovelace. Or maybe Charles Babbage.", False, False),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "The builder was Ada Lovelace or possibly Charles Babbage, the inventor of the difference engine.",
        False,
        False,
    ),
    ("Who built the old bridge?", "Ada Lovelace", "ADA LOVELACE OR CHARLES BABBAGE", False, False),
    (
        "Who built the old bridge?",
        "Ada Lovelace",
        "It is either Ada Lovelace, who was an engineer, or Charles Babbage, who was an inventor.",
        False,
        False,
    ),
    ("What was it built of?", "granite", "granite, sandstone, marble, limestone, or brick", False, False),
    ("What was it built of?", "granite", "It was built of granite, a hard and grey stone.", False, True),
    ("What was it built of?", "granite and sand", "It was built of granite, sand, and other things", False, True),
    ("Which months?", "May, June", "May and June", False, True),
    ("What?", "a", "a", True, True),
    ("What?", "the", "the", True, True),
    ("What?", "to be or not to be", "To be, or not to be", True, True),
    ("What?", "The", "the", True, True),
    ("What?", "an apple", "apple", True, True),
    ("What?", "apple", "an apple", True, True),
    ("What?", "Not", "Not", True, True),
]
TABLE = QUESTIONS + [
    (question, *row)
    for question, rows in (
        (WHICH, SIGNS),
        (WHICH, NUMERALS),
        (IS_IT, YES_AND_NO),
        (WHICH, SCRIPTS),
        (COMPLEXITY, PARROTS),
        (WHO, REFUSALS),
        (WHICH, LISTS),
        (CAPITAL, CAPITALS),
        (WHO, LONG_ANSWERS),
    )
    for row in rows
]


def verdict(judge: Judge, gold: str, answer: str, question: str = WHICH) -> bool | None:
    (found,) = judge.grade([Case(question, gold, answer)])
    return found.correct


@pytest.mark.parametrize(("question", "gold", "answer", "exact", "lexical"), TABLE)
def test_both_judges_tell_right_from_wrong(question: str, gold: str, answer: str, exact: bool, lexical: bool) -> None:
    assert verdict(Exact(), gold, answer, question) is exact
    assert verdict(Lexical(), gold, answer, question) is lexical


BOTH = pytest.mark.parametrize("judge", [Exact(), Lexical()])
LETTERS = st.characters(categories=["L", "M", "N", "P", "S", "Z"])
NAMES = st.sampled_from([row[0] for row in SIGNS + NUMERALS + SCRIPTS])
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
def test_composed_and_decomposed_letters_are_the_same(judge: Judge, row: tuple[str, str, str, bool, bool]) -> None:
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


@given(st.sampled_from([row[0] for row in NUMERALS + REFUSALS]), st.sampled_from([WHO, IS_IT, COMPLEXITY, PROMPT]))
@settings(deadline=None)
def test_the_question_said_again_is_never_right(gold: str, question: str) -> None:
    for said in (question, question.upper(), f"{question} {question}", f"Question: {question}\nAnswer:"):
        assert verdict(Lexical(), gold, said, question) is False


@BOTH
@given(st.sampled_from([row[0] for row in SCRIPTS + LISTS]), st.sampled_from([str.upper, str.lower, str.casefold]))
@settings(deadline=None)
def test_capitals_change_no_verdict(judge: Judge, gold: str, change: Callable[[str], str]) -> None:
    assert verdict(judge, gold, change(gold)) is True


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
    ],
)
def test_verdicts_take_time_linear_in_the_texts(judge: Judge, text: str) -> None:
    def seconds(times: int) -> float:
        start = time.process_time()
        verdict(judge, "Ada " + text * times, text * times, text * times)
        verdict(judge, "Ada", text * times)
        return time.process_time() - start

    seconds(10)
    assert seconds(16_000) < 25 * max(seconds(1_600), 0.01)
