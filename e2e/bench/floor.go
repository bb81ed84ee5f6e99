package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/internal/daemon"
)

// floorCommand makes the bench run as the floor server: a process of its own,
// so that its CPU time and memory are its own.
const floorCommand = "floor"

// serveFloor answers every review the same but for its uid, over TLS: what no
// webhook in Go can do with less. It reads the body, for it has to arrive. What
// it answers is a patch, if it is given one.
func serveFloor(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet(floorCommand, flag.ContinueOnError)
	listen := fs.String("listen", "", "address")
	cert := fs.String("cert", "", "where to write the certificate")
	patch := fs.String("patch", "", "file with the JSON patch to answer")
	if err := fs.Parse(args); err != nil {
		return err
	}
	pair, err := selfSigned(*cert)
	if err != nil {
		return err
	}
	verdict := `"allowed":true`
	if *patch != "" {
		text, err := os.ReadFile(*patch)
		if err != nil {
			return err
		}
		verdict += `,"patchType":"JSONPatch","patch":"` + base64.StdEncoding.EncodeToString(text) + `"`
	}
	server := &http.Server{
		Addr:              *listen,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}},
		ReadHeaderTimeout: 3 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answerAtOnce(w, r, verdict) }),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answerAtOnce(w http.ResponseWriter, r *http.Request, verdict string) {
	var body bytes.Buffer
	body.Grow(int(r.ContentLength) + bytes.MinRead)
	if _, err := body.ReadFrom(r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, rest, _ := bytes.Cut(body.Bytes(), []byte(`"uid":"`))
	uid, _, _ := bytes.Cut(rest, []byte(`"`))
	answer := fmt.Appendf(nil, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"%s",%s}}`, uid, verdict)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer)
}

// selfSigned makes a certificate for localhost and writes it to path.
func selfSigned(path string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(path, encoded, 0o600)
}

// floor is a running floor server.
type floor struct {
	*daemon.Process
	address string
	ca      []byte // PEM
}

// startFloor starts a floor server that answers this patch, nil for none. Its
// files are in dir, under its name.
func startFloor(ctx context.Context, dir, name string, patch []byte) (*floor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := cluster.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address, cert := net.JoinHostPort("localhost", strconv.Itoa(ports[0])), filepath.Join(dir, name+".crt")
	args := []string{floorCommand, "-listen", address, "-cert", cert}
	if patch != nil {
		file := filepath.Join(dir, name+".patch")
		if err := os.WriteFile(file, patch, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-patch", file)
	}
	p, err := daemon.Start(daemon.Spec{Name: name, Path: self, Logs: dir, Args: args})
	if err != nil {
		return nil, err
	}
	f := &floor{Process: p, address: address}
	if err := f.wait(ctx); err != nil {
		p.Kill()
		return nil, err
	}
	f.ca, err = os.ReadFile(cert)
	return f, err
}

// wait returns once the server listens.
func (f *floor) wait(ctx context.Context) error {
	const patience, poll = 10 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var dialer net.Dialer
	for {
		connection, err := dialer.DialContext(ctx, "tcp", f.address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-f.Done():
			return errors.Join(errors.New("the floor server has ended"), f.Err())
		case <-ctx.Done():
			return fmt.Errorf("wait for the floor server: %w", err)
		case <-time.After(poll):
		}
	}
}
