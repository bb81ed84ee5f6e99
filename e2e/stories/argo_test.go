package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// argo is the module of Argo Rollouts. Nothing of it is compiled or run: it is no
// part of our go.mod, and what it brings along none of our go.sum. v1.9.3 has the
// same kind, but asks for a newer Go.
const (
	argo    = "github.com/argoproj/argo-rollouts@v1.9.2"
	argoSum = "h1:NaAtrUjjm9AFAyurAEFRJjP54mk98s8007B3vsdFEbI=" // as in a go.sum
)

// argoKind is the kind as Argo's users install it.
func argoKind(ctx context.Context) (*apiextensionsv1.CustomResourceDefinition, error) {
	dir, err := download(ctx, argo, argoSum)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", argo, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "manifests", "crds", "rollout-crd.yaml"))
	if err != nil {
		return nil, err
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	return crd, yaml.UnmarshalStrict(text, crd)
}

// download has Go fetch a module, once for all runs, and answers its folder.
func download(ctx context.Context, module, sum string) (dir string, err error) {
	outside, err := os.MkdirTemp("", "module-") // of every module, whose go.sum would be changed
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(outside) //nolint:errcheck // empty
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir, cmd.Env = outside, append(os.Environ(), "GOWORK=off")
	out, failed := cmd.Output()
	var told struct{ Dir, Sum, Error string }
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&told); err != nil {
		return "", errors.Join(failed, err)
	}
	switch {
	case told.Error != "":
		return "", errors.New(told.Error)
	case failed != nil:
		return "", failed
	case told.Sum != sum:
		return "", fmt.Errorf("its sum is %s, want %s", told.Sum, sum)
	}
	return told.Dir, nil
}
