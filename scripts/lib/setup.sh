# Set-up shared by scripts/up, scripts/test and scripts/bench; sourced, not run.
# Everything is checked before anything is installed, so that a machine that cannot be set up is left as it was.

RUST_NEEDED=1.95

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $1"; shift; for line in "$@"; do say "hint:  $line"; done; exit 1; }

# Installs what is missing of the given Debian packages (Homebrew formulae on macOS). Quick when nothing is missing.
# usage: need_packages DEBIAN_PACKAGES BREW_FORMULAE
need_packages() {
  local debian=$1 brew=$2 missing=() package
  case "$(uname -s)" in
    Linux)
      command -v dpkg-query >/dev/null || fail "this script installs packages with apt, and this Linux has none" \
        "install the equivalents of: $debian" "then run: cargo run --release --bin remora -- up"
      for package in $debian; do
        dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
      done
      [ ${#missing[@]} -eq 0 ] && return
      local as_root=()
      if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "these packages are missing, and there is no sudo: ${missing[*]}" \
          "as root: apt-get install ${missing[*]}"
        as_root=(sudo)
      fi
      say "Installing: ${missing[*]}"
      "${as_root[@]}" apt-get update -qq || fail "apt-get update failed" "is this machine online?"
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
        fail "apt-get could not install: ${missing[*]}"
      ;;
    Darwin)
      # Written without a Mac to try it on.
      xcode-select -p >/dev/null 2>&1 || fail "Apple's command line tools are missing" "run: xcode-select --install"
      for package in $brew; do
        command -v "$package" >/dev/null || missing+=("$package")
      done
      [ ${#missing[@]} -eq 0 ] && return
      command -v brew >/dev/null || fail "these are missing: ${missing[*]}" "install Homebrew (https://brew.sh), then run this again"
      brew install "${missing[@]}" >&2
      ;;
    MINGW* | MSYS* | CYGWIN*)
      fail "this script does not run on Windows itself" \
        "with WSL: run it inside a Debian or Ubuntu distribution" "with Docker Desktop: use Compose on a GPU host"
      ;;
    *) fail "unknown system: $(uname -s)" ;;
  esac
}

# A Rust toolchain that is new enough. Not installed here: how Rust gets onto a machine is its owner's choice.
need_rust() {
  if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH="$HOME/.cargo/bin:$PATH"
  fi
  command -v cargo >/dev/null || fail "Rust is missing" "install it from https://rustup.rs, then run this again"
  local have
  have=$(cargo --version | cut -d' ' -f2)
  [ "$(printf '%s\n%s\n' "$RUST_NEEDED" "$have" | sort -V | head -n 1)" = "$RUST_NEEDED" ] ||
    fail "Rust $RUST_NEEDED or later is needed, this is $have" "run: rustup update stable"
}

# llama.cpp is compiled from source: a C++ compiler, cmake, and libclang for its bindings. About 3 GB while it builds.
need_build_tools() {
  need_rust
  local free_kb
  free_kb=$(df -Pk . | awk 'NR==2 {print $4}')
  [ "$free_kb" -gt 4000000 ] || fail "only $((free_kb / 1024)) MB are free here; the build needs about 4 GB"
  need_packages "g++ make cmake clang libclang-dev git curl ca-certificates" "cmake git"
}

# The packages that a package-lock.json names, installed beside a copy of it. Made again when the list changes.
# usage: need_node_packages FOLDER_WITH_THE_LIST TARGET_FOLDER
need_node_packages() {
  local list=$1 folder=$2
  # From wherever Node came: its own packages bring an npm that Debian's would get in the way of.
  command -v npm >/dev/null || need_packages "nodejs npm" "node"
  [ "$(node --version | sed 's/^v//; s/\..*//')" -ge 18 ] ||
    fail "Node 18 or later is needed, this is $(node --version)" "install it from https://nodejs.org, then run this again"
  cmp -s "$list/package-lock.json" "$folder/installed.json" && return
  say "Installing the Node packages."
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$list/package.json" "$list/package-lock.json" "$folder/"
  npm --prefix "$folder" ci --silent --no-audit --no-fund --ignore-scripts >&2 ||
    fail "npm could not install what $list/package-lock.json names" "is this machine online?"
  cp "$list/package-lock.json" "$folder/installed.json"
}

# Where cargo puts what it builds.
target_dir() { printf '%s' "${CARGO_TARGET_DIR:-$PWD/target}"; }
