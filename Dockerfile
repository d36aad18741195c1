# One image for both roles: `--build-arg LOCK=web` for the server (no GPU stack), `relay` for workers.
FROM python:3.12-slim AS base
ARG LOCK=relay
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY requirements/${LOCK}.lock requirements/
RUN pip install --require-hashes --requirement requirements/${LOCK}.lock

FROM node:22-slim AS browser-client
WORKDIR /npm
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --omit=dev

FROM base
COPY . .
COPY --from=browser-client /npm/node_modules node_modules
RUN python -m web.vendor node_modules && rm -rf node_modules && pip install --no-deps --editable . \
    && useradd --create-home --uid 1000 relay && mkdir /data && chown relay /data
USER 1000
ENV DATA_DIR=/data HOST=0.0.0.0
VOLUME /data
EXPOSE 5000
CMD ["relay", "serve"]
