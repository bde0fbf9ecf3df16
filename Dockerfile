# The image of a worker.
#
#   docker build -t station-batch-aggregator .
#   docker run --rm -v ./models:/models:ro -e AGG_BROKER=kafka://kafka:9092 -e AGG_CALLBACK=load:callback \
#       station-batch-aggregator
#
# AGG_CALLBACK names your model, here the function `callback` in models/load.py. To see the image work, take the demo's:
# -e AGG_CALLBACK=app.demo.model:callback. What your model imports comes with an image of your own:
#
#   FROM station-batch-aggregator
#   USER root
#   RUN pip install --no-cache-dir numpy
#   COPY load.py .
#   USER 10001:10001
#   ENV AGG_CALLBACK=load:callback
#
# A worker writes to no disk: the image runs with a read-only root file system (--read-only), as in docker-compose.yml.

FROM python:3.13 AS build
WORKDIR /src
COPY requirements.lock ./
# Everything in the lock file, checked against its hashes ...
RUN pip wheel --no-cache-dir --require-hashes --requirement requirements.lock --wheel-dir /wheels
COPY . ./
# ... and of that only what a worker needs, with OpenTelemetry for AGG_TRACES: no test tools, no Java.
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --no-index --find-links /wheels '.[traces]'

FROM python:3.13-slim
RUN groupadd --gid 10001 worker && useradd --uid 10001 --gid worker --no-create-home --shell /usr/sbin/nologin worker
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /models
# By number, so that Kubernetes can tell that it is not root.
USER 10001:10001
EXPOSE 6066
# Without a proxy, whatever the environment says of one.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "\
import os, urllib.request as request; \
url = 'http://127.0.0.1:' + (os.environ.get('AGG_WEB_PORT') or '6066') + '/healthz'; \
request.build_opener(request.ProxyHandler({})).open(url, timeout=4)"]
CMD ["faust", "-A", "app", "worker", "-l", "info"]
