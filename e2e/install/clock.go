package install

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keyroll.dev/e2e/internal/repo"
)

// Clock is what a webhook issues its certificates by.
type Clock struct {
	Offset    time.Duration // by how much it is ahead of the machine's
	Tolerance time.Duration // for how much longer than their life certificates are valid, on either side; 0: as shipped
}

// StartWebhookWithClock starts a replica as StartWebhook does, whose
// certificates are issued by another clock. Nobody can ask the product for one:
// its source is changed on the way to the compiler, see Options.Clocks.
func (i *Installation) StartWebhookWithClock(ctx context.Context, clock Clock, extraArgs ...string) (*Process, error) {
	binary := i.binaries[clockedName]
	if binary == "" {
		return nil, errors.New("the installation was made without Options.Clocks")
	}
	env := []string{
		"KEYROLL_TEST_CLOCK_OFFSET=" + clock.Offset.String(),
		"KEYROLL_TEST_CLOCK_TOLERANCE=" + clock.Tolerance.String(),
	}
	return i.startWebhook(ctx, binary, env, extraArgs)
}

// clockedName is the webhook's binary that reads its clock from the environment.
const clockedName = webhookName + " with another clock"

//go:embed testdata/clock.go
var clockSource []byte

// clockChanges are made to certs/dynamic.go. That the tests of certs inject the
// same two says that they are all that is to be changed.
var clockChanges = map[string]string{
	"c.Now = time.Now\n":       "c.Now = testNow\n",
	"DefaultClockTolerance)\n": "testTolerance())\n",
}

func buildWithClock(ctx context.Context) (binary string, err error) {
	root, err := repo.Root()
	if err != nil {
		return "", err
	}
	cache, err := repo.Cache()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "overlay-clock")
	overlay, err := writeClockOverlay(root, dir)
	if err != nil {
		return "", err
	}
	paths, err := build(ctx, variant{dir: "bin-clock", args: []string{"-overlay", overlay}}, webhookName)
	return paths[webhookName], err
}

// writeClockOverlay writes what go build -overlay reads: which file of the
// checkout is to be taken for which.
func writeClockOverlay(root, dir string) (path string, err error) {
	source, err := os.ReadFile(filepath.Join(root, "certs", "dynamic.go"))
	if err != nil {
		return "", err
	}
	changed := string(source)
	for old, replacement := range clockChanges {
		if strings.Count(changed, old) != 1 {
			return "", fmt.Errorf("certs/dynamic.go has %q %d times, not once", old, strings.Count(changed, old))
		}
		changed = strings.Replace(changed, old, replacement, 1)
	}
	files := map[string][]byte{"dynamic.go": []byte(changed), "clock.go": clockSource}
	replace := map[string]string{}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, content := range files {
		replace[filepath.Join(root, "certs", name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, overlay, 0o644)
}
