package cluster

import (
	"os"
	"path/filepath"

	"keyroll.dev/e2e/internal/repo"
)

// runFolder holds the files of one running cluster: keys, kubeconfigs, etcd's
// data. A lock in it lives as long as we do, so that the next start can tell
// the folders of the living from those that a killed run left.
type runFolder struct {
	dir  string
	lock *repo.Lock
}

const lockName = "lock"

func newRunFolder() (*runFolder, error) {
	cache, err := repo.Cache()
	if err != nil {
		return nil, err
	}
	parent := filepath.Join(cache, "run")
	const private = 0o700 // there are keys inside
	if err := os.MkdirAll(parent, private); err != nil {
		return nil, err
	}
	sweepRuns(parent)
	dir, err := os.MkdirTemp(parent, "cluster-")
	if err != nil {
		return nil, err
	}
	lock, err := repo.TryLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	return &runFolder{dir: dir, lock: lock}, nil
}

func (r *runFolder) path(name string) string { return filepath.Join(r.dir, name) }

func (r *runFolder) remove() {
	_ = os.RemoveAll(r.dir)
	_ = r.lock.Release()
}

// sweepRuns removes what killed runs left. A folder without a lock file is one
// that another process is just making.
func sweepRuns(parent string) {
	locks, _ := filepath.Glob(filepath.Join(parent, "*", lockName)) // the pattern is good
	for _, path := range locks {
		lock, err := repo.TryLock(path)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(filepath.Dir(path))
		_ = lock.Release()
	}
}
