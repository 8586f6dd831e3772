# llama.cpp's own server, to measure against; sourced, not run.

# The release of llama-cpp-python whose sources hold the llama.cpp nearest to the one in the crate llama-cpp-sys-2.
LLAMA_CPP_PYTHON_VERSION=0.3.36

# Builds llama-server and its libraries, once (about 15 minutes on one core). The same CPU as the crate builds for:
# AVX2 and what came with it, nothing later. What else it is built with are llama.cpp's own defaults.
# usage: need_llama_server FOLDER PYTHON
need_llama_server() {
  local folder=$1 python=$2 work
  [ -x "$folder/bin/llama-server" ] && [ -f "$folder/ready-$LLAMA_CPP_PYTHON_VERSION" ] && return
  say "Building llama-server from the sources in llama-cpp-python $LLAMA_CPP_PYTHON_VERSION; this takes a while."
  work=$folder/work
  rm -rf "$folder"
  mkdir -p "$work"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    --dest "$work" "llama-cpp-python==$LLAMA_CPP_PYTHON_VERSION"
  tar -xzf "$work"/llama_cpp_python-*.tar.gz -C "$work" --strip-components 1
  mv "$work/vendor/llama.cpp" "$folder/source"
  cmake -S "$folder/source" -B "$folder" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF >"$folder/build.log"
  # Politely: whatever else runs goes first.
  nice cmake --build "$folder" --target llama-server --parallel "${LLAMA_BUILD_JOBS:-$(nproc)}" >>"$folder/build.log" 2>&1 ||
    fail "llama-server could not be built" "$folder/build.log says why"
  rm -rf "$work"
  touch "$folder/ready-$LLAMA_CPP_PYTHON_VERSION"
}
