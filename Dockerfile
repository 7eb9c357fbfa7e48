# syntax=docker/dockerfile:1
ARG PYTHON=3.12

# --- build: locked dependencies and the package, in a virtual environment of their own
FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/nextbest
# The compiler of the steps that every decision takes (bandits/_kernels.c); it stays out of the image.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY requirements-prod.txt ./
RUN /opt/nextbest/bin/pip install --require-hashes --no-deps --only-binary :all: -r requirements-prod.txt
# The build tool has its pinned version and hashes from the other lock, and stays out of the image.
COPY requirements.txt ./
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements.txt > build-tool.txt \
    && pip install --require-hashes --no-deps -r build-tool.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY decisioning decisioning
COPY bandits bandits
COPY profiles profiles
COPY rules rules
COPY storage storage
COPY demo demo
COPY migrations migrations
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/nextbest/bin/pip install --no-deps --no-index /dist/*.whl

# --- run: no compiler, no package sources, no root
FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin nextbest
COPY --from=build /opt/nextbest /opt/nextbest
ENV PATH=/opt/nextbest/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NEXTBEST_HOST=0.0.0.0 \
    NEXTBEST_PORT=8000 \
    NEXTBEST_DATA_DIR=/tmp
USER nextbest
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['NEXTBEST_PORT'] + '/livez', timeout=2)"]
ENTRYPOINT ["nextbest"]
CMD ["serve"]
