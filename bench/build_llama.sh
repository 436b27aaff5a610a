#!/bin/sh
# Build the llama.cpp programs that bench/engine.py measures.
#
#     sh bench/build_llama.sh SOURCE [FOLDER]
#
# SOURCE is a tree of llama.cpp; one lies in the source package of llama-cpp-python:
#
#     pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36
#     tar xf llama_cpp_python-0.3.36.tar.gz        # then vendor/llama.cpp in there
#
# FOLDER is .bench/llama unless said; the programs come to lie in FOLDER/bin. The compiler is clang
# 16, or what CC and CXX name: GCC 12 builds a program that dies in its AMX code.
set -eu

source=${1:?the tree of llama.cpp}
folder=${2:-.bench/llama}
export CC="${CC:-clang-16}" CXX="${CXX:-clang++-16}"

cmake -S "$source" -B "$folder" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=ON \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF
nice -n 19 ninja -C "$folder" -j "${JOBS:-2}" \
    llama-bench llama-batched-bench llama-server llama-quantize llama-cli llama-completion llama-perplexity
"$CXX" --version | head -n 1 > "$folder/compiler.txt"
