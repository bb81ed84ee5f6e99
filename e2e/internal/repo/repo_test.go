package repo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRootIsTheProductsModule(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	if name, err := moduleName(filepath.Join(root, "go.mod")); err != nil || name != "keyroll.dev" {
		t.Fatalf("module at %s is %q (%v)", root, name, err)
	}
	if _, err := os.Stat(filepath.Join(root, "e2e", "internal", "repo", "repo.go")); err != nil {
		t.Fatalf("this file is not under the root: %v", err)
	}
}

func TestRootOutsideACheckoutIsAnError(t *testing.T) {
	t.Chdir(t.TempDir())
	if root, err := Root(); err == nil {
		t.Fatalf("found %s", root)
	}
}

func TestCacheFollowsTheVariable(t *testing.T) {
	want := filepath.Join(t.TempDir(), "elsewhere")
	t.Setenv(CacheVariable, want)
	got, err := Cache()
	if err != nil || got != want {
		t.Fatalf("got %s (%v), want %s", got, err, want)
	}
	if _, err := os.Stat(got); err != nil {
		t.Fatal(err)
	}
}

func TestLockLetsOneInAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("second lock: %v", err)
	}

	// The holder lets go only once the second one is known to wait.
	second, err := WaitLock(t.Context(), path, func() {
		if err := first.Release(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	if _, err := WaitLock(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled wait: %v", err)
	}
	if err := second.Release(); err != nil {
		t.Fatal(err)
	}
}
