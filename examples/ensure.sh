# Sourced by the scripts beside it, once $seal is set: files made by stages, again only where something has changed.

if [ -n "${PLAN:-}" ]; then # nothing is made: RUN/plan gets a forecast of each stage, and lines as they might come
  run=$run/plan; mkdir -p "$run"; : > "$run/plan.jsonl"
  trap '"$seal" plan "$run/plan.jsonl"' EXIT
fi

foresee() { # FILE STAGE FLAGS…: the forecast of a stage; one that runs no model is run
  local file=$1 told flags=(--dry-run --json --overwrite); shift
  case "$* " in
    tasks*|filter*|merge*|quiz*" --exam "*) "$seal" "$@" --overwrite -o "$file" || [ $? = 3 ]; return ;;
    sft*) ;;
    *) flags+=(--suppose "$file") ;;
  esac
  told=$("$seal" "$@" "${flags[@]}")
  case $told in *'"calibrated": false'*) told=$("$seal" "$@" "${flags[@]}" --calibrate) ;; esac
  echo "$told" >> "$run/plan.jsonl"
}

put() { # FILE COMMAND…: what the command prints, whole or not at all; a file that has it already stays as it is
  "${@:2}" > "$1.new" # what fails in it ends the script, as nothing here asks for its code
  if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

sum_file() { { sha256sum "$1" || shasum -a 256 "$1"; } 2>/dev/null | cut -c 1-64; } # FILE: its SHA-256, also on macOS

is_ours() { # whether a stage wrote the file, as it is, and was told to by a line of a script
  local sum; sum=$(sum_file "$1")
  [ -n "$sum" ] && grep -q "$sum" "$1.manifest.json" && grep -q '"--overwrite",' "$1.manifest.json"
} 2>/dev/null

ensure() { # FILE STAGE FLAGS…: the stage's lines in the file
  [ -z "${PLAN:-}" ] || { foresee "$@"; return; }
  local file=$1 code=0; shift
  if [ -e "$file" ] && ! is_ours "$file"; then
    echo "${0##*/}: $file: is not of this script, so it is kept; remove it to have it made" >&2; return
  fi
  [ ! -e "$file" ] || "$seal" "$@" -o "$file" || code=$? # 73: its settings or its input are others now
  [ -e "$file" ] && [ $code != 73 ] || { code=0; "$seal" "$@" --overwrite -o "$file" || code=$?; }
  [ $code = 3 ] || return $code # 3: finished, and its lines say which of them failed
}
