# As nginx's own image is used by docker-compose.yml, of Debian's binary.
FROM python:3.13-slim
COPY nginx /usr/sbin/nginx
RUN mkdir -p /var/log/nginx && chown 101 /var/log/nginx
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
