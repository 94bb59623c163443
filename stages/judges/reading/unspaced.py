"""Names in scripts that write no spaces (Chinese, Japanese, Thai, …): 北京 stands in 那是北京。, and not in 北京大学.

There is no dictionary here. Where a name begins and ends is told by the kinds of letters (Japanese endings are in
hiragana), by letters that join words, and by nouns that make another name of a name.
"""

import re
import unicodedata

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
    *(
        "大学",
        "大學",
        "学院",
        "學院",
        "学校",
        "學校",
        "中学",
        "小学",
        "银行",
        "銀行",
        "机场",
        "機場",
        "空港",
        "公司",
        "医院",
    ),
    *("日报", "新闻", "新聞", "国际", "國際", "地铁", "时报"),
    *"路街站駅湾灣海河江山岛島队隊人语語文话話城宫宮寺塔湖",
)
_AROUND = re.compile("^[是在于於叫](?=..)|(?<=..)(?:です|でした|である|だった|だ|吗|呢|吧)$")
_SIGN = ("Mn", "Mc")


def get_forms(name: str) -> frozenset[str]:
    """Return a name's forms, also without a verb around it (在北京, 東京です), and without `city` after it (北京市)."""
    bare = _AROUND.sub("", name)
    return frozenset({name, bare, bare[:-1] if len(bare) > 2 and bare.endswith(_PLACE) else bare})


def is_phrase(word: str) -> bool:
    """Return whether the word is too long for a name."""
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
    """Whether a name can begin there: at the start, after a joining word, where the kind changes, or after two letters.

    中国北京 is a 北京; 東京都 is no 京都.
    """
    before, here = written[max(0, at - 8) : at], kinds[at]
    if before.endswith(_DENYING) or here == "sign":
        return False
    if not before or here == "other" or before.endswith(_JOINING.get(kinds[at - 1], ())):
        return True
    return (here != kinds[at - 1] and here != "hiragana") or kinds[max(0, at - 2) : at] == ["han", "han"] == [here] * 2


def _ends(written: str, kinds: list[str], at: int, sentence: bool) -> bool:
    """Return whether a name can end there; in a Chinese sentence before any word that makes no other name of it."""
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
