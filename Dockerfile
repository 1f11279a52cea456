# nekoctl and neko-api, static, in an empty file system, not as root. The keeper
# is PID 1: it reaps orphans and hands TERM on, so no init is needed.
#
#   docker build --build-arg VERSION=$(git describe --tags --always) -t neko .
#   docker run -p 4000:4000 -v neko:/var/lib/neko neko
#
# With --read-only add --tmpfs /tmp.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN make build VERSION="$VERSION" \
 && mkdir -p /root-fs/var/lib/neko /root-fs/tmp /root-fs/etc/ssl/certs \
 && cp bin/nekoctl bin/neko-api /root-fs/ \
 && cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ \
 && chown -R 65532:65532 /root-fs/var/lib/neko && chmod 700 /root-fs/var/lib/neko \
 && chmod 1777 /root-fs/tmp

FROM scratch
COPY --from=build /root-fs /
USER 65532:65532
# Other programs in an image FROM this one are found, too.
ENV PATH=/:/usr/local/bin:/usr/bin:/bin \
    NEKO_HOME=/var/lib/neko \
    NEKO_API_LISTEN=0.0.0.0:4000
VOLUME /var/lib/neko
HEALTHCHECK CMD ["/nekoctl", "--quiet", "ping"]
EXPOSE 4000
ENTRYPOINT ["/nekoctl", "start", "--no-daemon"]
