# The API and the app, for CPUs (as it is) or for GPUs (--build-arg TORCH=cuda); docs/serving.md.
ARG PYTHON=3.12
ARG TORCH=cpu

FROM python:${PYTHON}-slim-bookworm AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /opt/zero123lib
COPY packages.txt constraints.txt ./
# System libraries in the versions of this release of Debian, which mends faults in no other way.
# hadolint ignore=DL3008
RUN apt-get update \
    && xargs -a packages.txt apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/*

# Torch alone first: everything after it finds it there and cannot choose another build.
FROM base AS torch-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --extra-index-url "${TORCH_INDEX}" -c constraints.txt torch

# PyPI's torch brings the CUDA libraries; the driver is the host's, by NVIDIA's container toolkit.
FROM base AS torch-cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install --no-cache-dir -c constraints.txt torch

# hadolint ignore=DL3006
FROM torch-${TORCH} AS serving
ARG EXTRAS=app,cluster,meshes,recon,video
WORKDIR /opt/zero123lib
COPY pyproject.toml ./
# What the code needs, in a layer that stays while only the code changes.
RUN python -c "import sys, tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = [project['optional-dependencies'][name] for name in sys.argv[1].split(',')]; \
print('\n'.join(sum(extras, project['dependencies'])))" "${EXTRAS}" > wanted.txt \
    && pip install --no-cache-dir -c constraints.txt -r wanted.txt
COPY README.md LICENSE ./
COPY zero123lib ./zero123lib
RUN pip install --no-cache-dir --no-deps . \
    && useradd --create-home --uid 1000 zero123 \
    && install -d -o zero123 /models

USER 1000
WORKDIR /home/zero123
# Models that are fetched are kept there, beyond the container.
ENV HF_HOME=/models/huggingface U2NET_HOME=/models/u2net
VOLUME /models
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
ENTRYPOINT ["zero123"]
CMD ["serve", "--host", "0.0.0.0", "--page"]
