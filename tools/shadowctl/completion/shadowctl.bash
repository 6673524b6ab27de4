# SPDX-License-Identifier: Apache-2.0
# Bash completion for shadowctl. Load it with: source <(shadowctl completion bash)
# Names of volumes, modifications and classes are asked of the daemon; without one there are none.

_shadowctl_names() {
  shadowctl __names "$1" 2>/dev/null
}

# The flags of a command. tools/shadowctl/docs_test.cc compares this with the program.
_shadowctl_flags() {
  case "$1" in
    "volume create") echo "--size --to --block-size --overwrite --allow-unstable-names --request-id" ;;
    "volume import") echo "--metadata --block-size --overwrite --allow-unstable-names --request-id" ;;
    "volume export") echo "--request-id" ;;
    "volume list") ;;
    "volume show") ;;
    "volume activate") echo "--allow-unstable-names --request-id" ;;
    "volume recover") echo "--request-id" ;;
    "volume modify")
      echo "--size --to --impact --rate --retire --grace --grow-fs --skip-trim --discard-origin" \
        "--keep-origin-signature" \
        "--force-shrink --overwrite --allow-unstable-names --request-id --dry-run --wait --until"
      ;;
    "volume delete") echo "--destroy-data --dry-run --yes --request-id" ;;
    "class list") ;;
    "class measure") ;;
    "tier add") echo "--to --size --write-back --overwrite --allow-unstable-names --request-id" ;;
    "tier remove") echo "--forget --lost --wait --yes --request-id" ;;
    "tier list") ;;
    "tier show") ;;
    "tier mode") ;;
    "tier policy") echo "--policy --tier1-heat --tier2-heat --budget --window --impact" ;;
    "tier explain") echo "--offset" ;;
    "tier map") ;;
    "heat") echo "--ranges" ;;
    "top") echo "--interval --once" ;;
    "op list") ;;
    "op show") ;;
    "op watch") echo "--until" ;;
    "op pause") ;;
    "op resume") ;;
    "op abort") echo "--wait" ;;
    "op rollback") echo "--wait" ;;
    "op commit") echo "--wait" ;;
    "op restore-origin") ;;
    "op rate") echo "--impact" ;;
    "events") echo "--follow --volume --after" ;;
    "doctor") ;;
    "state export") ;;
    "state import") ;;
    "completion bash") ;;
  esac
}

_shadowctl_commands() {
  case "$1" in
    "") echo "volume class tier heat top op events doctor state completion" ;;
    volume) echo "create import export list show activate recover modify delete" ;;
    class) echo "list measure" ;;
    state) echo "export import" ;;
    tier) echo "add remove list show mode policy explain map" ;;
    op) echo "list show watch pause resume abort rollback commit restore-origin rate" ;;
    completion) echo "bash" ;;
  esac
}

_shadowctl() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local global="--help --socket --server --cert --key --ca --output --version"
  local words=() word i skip=0
  COMPREPLY=()
  # The command so far: words that are no flags and no values of flags.
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if ((skip)); then
      skip=0
      continue
    fi
    case $word in
      --wait | --grow-fs | --skip-trim | --discard-origin | --keep-origin-signature | --force-shrink | --dry-run | --yes | \
        --destroy-data | --allow-unstable-names | --follow | --write-back | --forget | --lost | --once | --help | -h | \
        --version) ;;
      -*) skip=1 ;;
      *) words+=("$word") ;;
    esac
  done
  local command=${words[0]-}
  if [[ $command == volume || $command == class || $command == tier || $command == op || $command == state || \
    $command == completion ]]; then
    command="$command ${words[1]-}"
  fi
  command=${command% }

  case $previous in
    --output | -o) COMPREPLY=($(compgen -W "table json" -- "$current")) && return ;;
    --socket | --metadata | --cert | --key | --ca) COMPREPLY=($(compgen -f -- "$current")) && return ;;
    --impact) COMPREPLY=($(compgen -W "low balanced full" -- "$current")) && return ;;
    --policy) COMPREPLY=($(compgen -W "pam ewma lru off" -- "$current")) && return ;;
    --retire) COMPREPLY=($(compgen -W "never cold eager" -- "$current")) && return ;;
    --until) COMPREPLY=($(compgen -W "cutover grace done" -- "$current")) && return ;;
    --volume) COMPREPLY=($(compgen -W "$(_shadowctl_names volumes)" -- "$current")) && return ;;
    --to)
      if [[ $current == /* ]]; then
        COMPREPLY=($(compgen -f -- "$current"))
      else
        COMPREPLY=($(compgen -W "$(_shadowctl_names classes)" -- "$current"))
      fi
      return
      ;;
    --server | --size | --rate | --grace | --request-id | --block-size | --after | --tier1-heat | \
      --tier2-heat | --budget | --window | --offset | --ranges | --interval) return ;;
  esac

  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$(_shadowctl_flags "$command") $global" -- "$current"))
    return
  fi
  case $command in
    "" | volume | class | tier | op | state | completion)
      COMPREPLY=($(compgen -W "$(_shadowctl_commands "$command")" -- "$current"))
      ;;
    "class measure")
      ((${#words[@]} == 2)) && COMPREPLY=($(compgen -W "$(_shadowctl_names classes)" -- "$current"))
      ;;
    "state export" | "state import")
      ((${#words[@]} == 2)) && COMPREPLY=($(compgen -f -- "$current"))
      ;;
    "volume recover")
      ((${#words[@]} == 2)) && COMPREPLY=($(compgen -f -- "${current:-/dev/}"))
      ;;
    "volume import")
      ((${#words[@]} == 3)) && COMPREPLY=($(compgen -f -- "${current:-/dev/}"))
      ;;
    "volume export" | "volume show" | "volume activate" | "volume modify" | "volume delete" | "op list")
      ((${#words[@]} == 2)) &&
        COMPREPLY=($(compgen -W "$(_shadowctl_names volumes)" -- "$current"))
      ;;
    heat | top)
      ((${#words[@]} == 1)) &&
        COMPREPLY=($(compgen -W "$(_shadowctl_names volumes)" -- "$current"))
      ;;
    "tier "*)
      local choice=""
      case "${words[1]} ${#words[@]}" in
        *" 2") choice=$(_shadowctl_names volumes) ;;
        "add 3" | "remove 3" | "mode 3") choice="tier1 tier2" ;;
        "mode 4") choice="writethrough writeback" ;;
      esac
      COMPREPLY=($(compgen -W "$choice" -- "$current"))
      ;;
    "op "*)
      ((${#words[@]} == 2)) && COMPREPLY=($(compgen -W "$(_shadowctl_names ops)" -- "$current"))
      ;;
  esac
}

complete -F _shadowctl shadowctl
