# Both binaries in one image without a shell. The same source, Go and VERSION give
# the same bytes, wherever they are built; `go version -m` lists every module in
# them. Cross-compiled on the builder's own platform:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v0.1.0 .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY certs certs
COPY cmd cmd
COPY internal internal
COPY watcher watcher
COPY webhook webhook
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH
RUN flags="-s -w -X keyroll.dev/internal/process.version=$VERSION" && \
    go build -trimpath -buildvcs=false -ldflags "$flags" -o /out/keyroll-webhook ./cmd/webhook && \
    go build -trimpath -buildvcs=false -ldflags "$flags" -o /out/keyroll-watcher ./cmd/watcher

FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION=devel
LABEL org.opencontainers.image.title=keyroll \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
