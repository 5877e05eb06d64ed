# docker build -t linescape .                                                             torch with CUDA, as pip has it
# docker build -t linescape --build-arg TORCH_INDEX=ADDRESS_OF_TORCH_BUILDS .             another torch, as the one for the CPU
# docker run --rm -v "$PWD:/work" linescape probe a.pt b.pt --model mine.py:network --data mine.py:data
# docker run --rm --gpus all -v "$PWD:/work" linescape doctor --device cuda
FROM python:3.12-slim

# gcc compiles linescape's kernels for the processor that runs them. Any version of it will do.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*

ARG TORCH_INDEX=
WORKDIR /opt/linescape
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN PIP_EXTRA_INDEX_URL="$TORCH_INDEX" pip install --no-cache-dir --constraint constraints.txt . \
 && useradd --create-home --uid 1000 user
USER 1000
WORKDIR /work
ENTRYPOINT ["linescape"]
CMD ["--help"]
