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

# What a worker needs and what builds it, checked against hashes: no test tools, no Java.
FROM python:3.13 AS locked
RUN python -m venv /venv
COPY requirements.worker.lock ./
RUN /venv/bin/pip install --no-cache-dir --require-hashes --requirement requirements.worker.lock

FROM locked AS libraries
RUN /venv/bin/pip uninstall --yes setuptools \
    && echo /app >"$(/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth"

FROM locked AS app
WORKDIR /src
COPY . ./
RUN /venv/bin/pip install --no-cache-dir --no-index --no-deps --no-build-isolation --target /app .

FROM python:3.13-slim
RUN groupadd --gid 10001 worker && useradd --uid 10001 --gid worker --no-create-home --shell /usr/sbin/nologin worker
WORKDIR /models
COPY --from=libraries /venv /venv
# A layer of its own: a change of the code moves 4 MB, not the libraries too.
COPY --from=app /app /app
# HOME: libraries that keep a cache there find a folder that can be written.
ENV PATH=/venv/bin:/app/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes can tell that it is not root.
USER 10001:10001
EXPOSE 6066
# By bash's own TCP: a Python that starts for each question takes four times the CPU, 70 ms.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["bash", "-c", "\
host=${AGG_WEB_HOST:-127.0.0.1} port=${AGG_WEB_PORT:-6066}; \
name=$host; case $host in *:*) name=[$host] ;; esac; \
exec 3<>/dev/tcp/$host/$port; \
printf 'GET /healthz HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' \"$name\" >&3; \
read -r _ status _ <&3; [ \"$status\" = 200 ]"]
CMD ["faust", "-A", "app", "worker", "-l", "info"]
