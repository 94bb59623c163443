"""Letters and signs that make two answers different: A and A+, C and C++, CO and CO₂, World War I and II.

`mark` writes them so that they survive what is done to words and punctuation, as code points of private use; SHOWN
writes those out again: a letter that is a name, or a numeral, as capitals, a sign as itself, a formula's digit small.

And names in scripts that write no spaces (Chinese, Japanese, Thai, …): 北京 stands in 那是北京。, and not in 北京大学.
There is no dictionary here. Where a name begins and ends is told by the kinds of letters (Japanese endings are in
hiragana), by letters that join words, and by nouns that make another name of a name.
"""

import re
import string
import unicodedata

from stages.judges.numbers.tables import UNIT_NAMES, cache_texts, list_words

_MOST_ACCENTS = 30  # on one letter, as in Unicode's stream-safe texts: to sort more of them takes quadratic time
_SMALL = "₀₁₂₃₄₅₆₇₈₉"
_SIGNS = "+#*-"
_PRIVATE = {shown: chr(0xE000 + number) for number, shown in enumerate(string.ascii_uppercase + _SIGNS + _SMALL)}
SHOWN = {ord(private): shown for shown, private in _PRIVATE.items()}
_ERASED = dict.fromkeys(SHOWN, " ")  # a text that has them already
_DIGITS = {**dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", string.digits, strict=True)), **dict(zip(_SMALL, string.digits, strict=True))}
_RAISED_SIGNS = str.maketrans({"⁺": "+", "⁻": "-", "♯": "#", "♭": " flat"})
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_SHIFTED = re.compile(  # km², H₂O, SO₄²⁻; but 10² is not 102
    rf"(?<=[A-Za-z])[{_RAISED}{_SMALL}]+|(?<![\d{_RAISED}])[{_RAISED}]+(?=[+-])"
)
_KEPT_APART = ("<super>", "<fraction>")

_ATOMS = r"(?=[A-Za-z])(?:[A-Za-z]{1,2}\d{1,3})*[A-Za-z]{0,2}"  # H2SO4, B12, F16, Na
_FORMULA = re.compile(rf"(?<![^\W_])(?!(?:ad|ce|bc|no|nr|pp?|ca?)\d)({_ATOMS})(?![^\W_])", re.IGNORECASE)
_HYPHEN = re.compile(r"(?<![\w-])([A-Za-z]{1,2})-(?=\d{1,3}(?![\w.,]))")  # F-16, B-12
_SIGNED = re.compile(
    rf"(?<![\w+#*.@/&-])(?:{_ATOMS}(?:\+\+|[+#])|(?:(?:[A-Z][a-z]?\d{{0,3}})+|[a-z])[-−–]|[A-Z]\*)(?![\w+#*−–-])"
)  # C++, F#, a+, Na+; O-, Cl-; A*
_SPELLED = (
    (re.compile(r"\b(n)o one\b", re.IGNORECASE), r"\1obody"),
    (re.compile(r"\b(?:N[or]|no\.) ?\.? ?(?=\d)|№ ?(?=\d)|(?<![\w&#])#(?=\d)"), "number "),
    (re.compile(r"\bca?\. ?(?=\d)", re.IGNORECASE), "circa "),
    (re.compile(r"\bww ?(?=(?:ii?|[12])\b)", re.IGNORECASE), "World War "),
    (re.compile(r"(?<![\w.])(?:\.|dot )net\b", re.IGNORECASE), "dotnet"),
    (re.compile(r"\b[Cc](?: plus plus|pp)\b"), "C++"),
    (re.compile(r"\b([A-G]) sharp\b"), r"\1#"),
    (re.compile(r"\b(AB|[ABO])[ -](?:pos(?:itive)?|plus)\b(?=\s*(?:$|[^\w\s]|blood|type))"), r"\1+"),
    (re.compile(r"\b(AB|[ABO])[ -](?:neg(?:ative)?|minus)\b(?=\s*(?:$|[^\w\s]|blood|type))"), r"\1-"),
)

_NAMES = (  # of which one is short; where words are told apart
    (re.compile(r"\bunited states(?: of america)?\b|\bu\.s\.(?:a\.)?(?![\w$])|\busa\b", re.IGNORECASE), "usa"),
    (re.compile(r"\bUS\b(?!\$| dollars?\b)"), "usa"),
    (re.compile(r"\bunited kingdom\b", re.IGNORECASE), "uk"),
    (re.compile(r"\bunited nations\b", re.IGNORECASE), "un"),
    (re.compile(r"\beuropean union\b", re.IGNORECASE), "eu"),
    (re.compile(r"(?<![\w'’])(?:l|d|qu)['’](?=[aeiouyhàâæéèêëîïôœùû])", re.IGNORECASE), ""),  # l'eau
)

NUMERAL = re.compile(r"(?<![^\W_])(?:[IVX]{2,}|[ivx]{2,}|X[LC][IVX]*|[IVXLCDM]{3,}|Iii?)(?![^\W_])")
_WELL_FORMED = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_VALUES = dict(zip("IVXLCDM", (1, 5, 10, 50, 100, 500, 1000), strict=True))

_LABELS = (  # behind these a letter is a name, and no article
    "vitamin hepatitis influenza type group class grade option choice answer plan part phase stage category level team "
    "section figure appendix exhibit schedule article chapter volume letter point case model war title form key act"
)
_LABELLED = re.compile(rf"\b(?:{'|'.join(_LABELS.split())})[ -][aist](?![\w'’])", re.IGNORECASE)
_START = r"(?<![\w'’./-])"
_NAMED = re.compile(
    rf"{_START}[AISTaist](?=\s*(?:$|[^\w\s'’.\-]|[-.](?!\s*\w)))"  # vitamin A. (A) A, B and C
    rf"|{_START}[AIST](?=-[A-Za-z])|{_START}[ST](?= )|{_START}A(?= (?:minor|major|flat)\b)"  # A-level, T cells
    r"|(?<=[a-z] )A(?= [a-z])"  # an A in maths
)
_RULER = re.compile(
    r"\b(?!And|Yet|Now|Can|May|Did|Was|What|When|Where|How|Then|But|Yes|Today|That|Which|While)[A-Z][a-z]{2,} I(?= )"
)
_INITIAL = re.compile(r"(?<![\w'’.-])[A-Za-z]\.(?=\s*\w{2})|(?<=[a-z] )[A-Z](?= [A-Z][a-z])")  # John F. Kennedy
_BRACKETED = re.compile(r"\([^()]*\)")


def compose(text: str) -> str:
    """Normalise to Unicode NFC: usual width, no ligatures or small digits, no invisible signs."""
    if text.isascii():
        return text
    accents, kept = 0, []
    for letter in text.translate(_RAISED_SIGNS):
        accents = accents + 1 if unicodedata.combining(letter) else 0
        if accents <= _MOST_ACCENTS and unicodedata.category(letter) != "Cf":
            kept.append(letter)
    plain = _SHIFTED.sub(lambda found: "".join(map(_DIGITS.__getitem__, found[0])), "".join(kept))
    return unicodedata.normalize("NFC", "".join(map(_of_usual_width, plain)))


def _of_usual_width(letter: str) -> str:
    shape = unicodedata.decomposition(letter)
    return letter if not shape or shape.startswith(_KEPT_APART) else unicodedata.normalize("NFKC", letter)


@cache_texts()
def mark_signs(text: str) -> str:
    """Compose the text and mark each sign that belongs to a letter: C++, O-, Na+."""
    return _SIGNED.sub(lambda found: re.sub(r"[-−–+#*]", _private_sign, found[0]), spell_out(text).translate(_ERASED))


@cache_texts()
def spell_out(text: str) -> str:
    """Compose the text and write what has several spellings in one: No. 5, WW2, O positive."""
    text = compose(text)
    for spelled, written in _SPELLED:
        text = spelled.sub(written, text)
    return text


def _private_sign(found: re.Match[str]) -> str:
    return _PRIVATE[found[0] if found[0] in _SIGNS else "-"]


def mark(text: str) -> str:
    """Mark all that must survive: signs, the digits of formulas, numerals, and letters that are no words."""
    text = _HYPHEN.sub(r"\1", mark_signs(text))
    for name, short in _NAMES:
        text = name.sub(short, text)
    text = _FORMULA.sub(_mark_formula, text)
    text = NUMERAL.sub(lambda found: _private(found[0]) if read_numeral(found[0].upper()) else found[0], text)
    text = _LABELLED.sub(lambda found: found[0][:-1] + _private(found[0][-1]), text)
    text = _RULER.sub(lambda found: found[0][:-1] + _private("I"), text)
    return _NAMED.sub(lambda found: _private(found[0]), text)


def _mark_formula(found: re.Match[str]) -> str:
    """Mark the digits of a formula; km2 is none."""
    if found[0] in UNIT_NAMES:
        return found[0]
    return re.sub(r"\d", lambda digit: _PRIVATE[_SMALL[int(digit[0])]], found[0])


def _private(letters: str) -> str:
    return "".join(_PRIVATE[letter] for letter in letters.upper())


def read_numeral(numeral: str) -> int | None:
    """The value of a Roman numeral in capitals; None if it is none."""
    if not numeral or not _WELL_FORMED.fullmatch(numeral):
        return None
    each = [_VALUES[letter] for letter in numeral]
    return sum(-one if one < following else one for one, following in zip(each, [*each[1:], 0], strict=True))


def is_marked(word: str) -> bool:
    """True if a word from `split_words` is a letter, a numeral, a formula, or a letter with a sign."""
    return (len(word) == 1 and word.isascii() and word.isalpha()) or word[0].isupper() or word[-1] in _SIGNS + _SMALL


def strip_asides(text: str) -> str:
    """Leave out brackets and the initials of names: an answer may lack them."""
    return _INITIAL.sub(" ", _BRACKETED.sub(" ", text))


# ---- names in scripts without spaces

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_LONGEST = {"han": 8, "hiragana": 8, "katakana": 8}  # letters; a longer word is a phrase, compared by pairs of letters
_LONGEST_SPELT = 24  # where letters are sounds
ALIKE = 2 / 3  # share of its pairs that an answer has at least
_KINDS = (
    ("hiragana", "\u3040", "\u309f"),
    ("katakana", "\u30a0", "\u30ff"),
    ("thai", "\u0e00", "\u0e7f"),
    ("other", "\u0e80", "\u17ff"),  # of which nothing is known here
    ("han", "\u3005", "\U0003ffff"),
)
_JOINING = {  # what stands beside a name and is no part of it
    "han": tuple("是在的了为為有于於叫和与與或及而从從到以把被对對向由等吗嗎呢吧说說将將曾会會能可这這那就也都"),
    "hiragana": tuple("はがをにでとのもへや"),
    "thai": (
        *("เป็น", "คือ", "ที่", "ใน", "ของ", "อยู่", "และ", "หรือ", "มี", "ได้", "จาก", "ถึง", "โดย", "ผ่าน", "ไป", "มา"),
        *("ประเทศ", "จังหวัด", "เมือง", "นคร", "ชื่อ", "ครับ", "ค่ะ"),
    ),
}
_DENYING = ("不是", "并非", "並非", "不在", "没有", "沒有", "不叫", "ไม่ใช่")
_DENIED = ("ではな", "じゃな", "でない", "ではあり", "じゃあり")
_PLACE = tuple("市省县縣府州都氏様")  # 北京市 is 北京
_OTHERS = (  # 北京大学 is not
    *list_words(
        "大学 大學 学院 學院 学校 學校 中学 小学 银行 銀行 机场 機場 空港 公司 医院 日报 新闻 新聞 国际 國際 地铁 时报"
    ),
    *"路街站駅湾灣海河江山岛島队隊人语語文话話城宫宮寺塔湖",
)
_AROUND = re.compile("^[是在于於叫](?=..)|(?<=..)(?:です|でした|である|だった|だ|吗|呢|吧)$")
_SIGN = ("Mn", "Mc")


def get_forms(name: str) -> frozenset[str]:
    """Return a name's forms, also without a verb around it (在北京, 東京です), and without `city` after it (北京市)."""
    bare = _AROUND.sub("", name)
    return frozenset({name, bare, bare[:-1] if len(bare) > 2 and bare.endswith(_PLACE) else bare})


def is_phrase(word: str) -> bool:
    """True if the word is too long for a name."""
    return UNSPACED.match(word) is not None and len(_AROUND.sub("", word)) > _LONGEST.get(
        _kind(word[0]), _LONGEST_SPELT
    )


def list_pairs(word: str) -> frozenset[str]:
    """List every two neighbouring letters, marked so that they are never taken for a name."""
    return frozenset(f"{word[at : at + 2]}…" for at in range(len(word) - 1))


def find_names(written: str) -> frozenset[str]:
    """Find all possible names in a text without spaces, and its pairs of letters. Takes linear time."""
    kinds = [_kind(letter) for letter in written]
    sentence = "hiragana" not in kinds and any(letter in _JOINING["han"] for letter in written)
    begins = [_begins(written, kinds, at) for at in range(len(written))]
    ends = [False] + [_ends(written, kinds, at, sentence) for at in range(1, len(written) + 1)]
    found = {
        written[first:last]
        for first in range(len(written))
        if begins[first]
        for last in range(first + 1, min(len(written), first + _LONGEST.get(kinds[first], _LONGEST_SPELT)) + 1)
        if ends[last]
    }
    return frozenset(found) | get_forms(written) | list_pairs(written)


def _kind(letter: str) -> str:
    if unicodedata.category(letter) in _SIGN:
        return "sign"  # part of the letter before
    return next(kind for kind, first, last in _KINDS if first <= letter <= last)


def _begins(written: str, kinds: list[str], at: int) -> bool:
    """True if a name can begin there: at the start, after a joining word, where the kind changes, or after two letters.

    中国北京 is a 北京; 東京都 is no 京都.
    """
    before, here = written[max(0, at - 8) : at], kinds[at]
    if before.endswith(_DENYING) or here == "sign":
        return False
    if not before or here == "other" or before.endswith(_JOINING.get(kinds[at - 1], ())):
        return True
    return (here != kinds[at - 1] and here != "hiragana") or kinds[max(0, at - 2) : at] == ["han", "han"] == [here] * 2


def _ends(written: str, kinds: list[str], at: int, sentence: bool) -> bool:
    """True if a name can end there; in a Chinese sentence before any word that makes no other name of it."""
    if at == len(written):
        return True
    here, before, behind = kinds[at], kinds[at - 1], written[at : at + 8]
    if behind.startswith(_DENIED) or here == "sign":
        return False
    if here == "other" or behind.startswith(_JOINING.get(here, ())) or (here == "hiragana" != before):
        return True
    if here != "han" or before != "han":
        return False
    if behind.startswith(_PLACE) and (len(behind) == 1 or kinds[at + 1] != "han" or behind[1] in _JOINING["han"]):
        return True
    return sentence and not behind.startswith(_OTHERS)
