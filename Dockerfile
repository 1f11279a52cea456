# The image for those who have Docker: the same files as `make image` makes without it, by the same program, and the
# same settings (a test in scripts/container holds the two together). nekoctl and neko-api are static, in an empty file
# system, not as root. The keeper is PID 1: it reaps orphans and hands TERM on, so no init is needed.
#
#   docker build --build-arg VERSION=1.0.0 --build-arg REVISION=$(git rev-parse HEAD) \
#     --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) -t neko .
#   docker run --read-only --cap-drop=all -p 127.0.0.1:4000:4000 -v neko:/var/lib/neko neko
#
# Its files are the same bits from the same sources; times and layers are the builder's own (BuildKit makes them the
# same, too, with --output type=image,rewrite-timestamp=true).

# The compiler is that of scripts/release. A base of your own needs go and a certificate store: --build-arg BASE=...
ARG BASE=docker.io/library/golang:1.26.8-bookworm
FROM --platform=$BUILDPLATFORM ${BASE} AS build
WORKDIR /src
COPY . .
ARG TARGETARCH
# As the packages have it, without a v: it is in the label, too, and the build ends if it is written otherwise.
ARG VERSION=0.0.0~gitdevel
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOMODCACHE=/go/pkg/mod go run -C scripts/image . -platforms "linux/$TARGETARCH" -version "$VERSION" -tree /root-fs

FROM scratch
COPY --from=build /root-fs /
USER 65532:65532
# Other programs in an image FROM this one are found, too.
ENV PATH=/:/usr/local/bin:/usr/bin:/bin \
    NEKO_HOME=/var/lib/neko \
    NEKO_API_LISTEN=0.0.0.0:4000
WORKDIR /
VOLUME /var/lib/neko
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/nekoctl", "--quiet", "ping"]
EXPOSE 4000
ENTRYPOINT ["/nekoctl", "start", "--no-daemon"]
ARG VERSION=0.0.0~gitdevel
ARG REVISION=
LABEL org.opencontainers.image.title="neko" \
      org.opencontainers.image.description="nekoctl, a process supervisor, and neko-api, a GraphQL API of threat intelligence" \
      org.opencontainers.image.source="https://github.com/nekoctl/neko" \
      org.opencontainers.image.documentation="https://github.com/nekoctl/neko/blob/main/docs/containers.md" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
