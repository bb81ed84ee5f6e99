package world

import (
	"context"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/vault"
)

// Content is what the stories of rotation ask of vault and driver. It is all
// that differs between our own cluster, where models answer, and one that was
// given.
type Content interface {
	// Rotate gives a secret of a vault a new value and answers its new version.
	Rotate(ctx context.Context, vault, name, value string) (version string, err error)
	// Newest is what Rotate has brought last.
	Newest(vault, name string) Secret
	// Running are the containers that run in a namespace's live pods, in the order
	// of pod and container names.
	Running(ctx context.Context, namespace string) ([]Container, error)
	// Trust lets a ServiceAccount act as the stories' identity.
	Trust(ctx context.Context, namespace, account string) error
}

// Secret is a version of a secret in a vault.
type Secret struct{ Version, Value string }

// Container is one that runs, and what it took from the vault.
type Container struct {
	Pod, Name string
	// Started and Now are the versions of its files, by the object's id
	// ("secret/db-password"): when it started, and at this moment.
	Started, Now map[string]string
	Env          map[string]string // since it started
}

// modelled asks the models: the driver's record of each start is the truth.
type modelled struct {
	vault  *vault.Service
	driver *driver.Driver
}

func (m modelled) Rotate(_ context.Context, name, secret, value string) (string, error) {
	return m.vault.Set(name, vault.Secret, secret, value), nil
}

func (m modelled) Newest(name, secret string) Secret {
	newest, _ := m.vault.Newest(name, vault.Secret, secret)
	return Secret{newest.Version, newest.Value}
}

func (m modelled) Running(_ context.Context, namespace string) ([]Container, error) {
	var all []Container
	for _, h := range m.driver.Current(namespace) {
		all = append(all, Container{Pod: h.Pod, Name: h.Container, Started: h.Start.Versions(), Now: h.Versions(), Env: h.Env})
	}
	return all, nil
}

func (m modelled) Trust(context.Context, string, string) error {
	m.vault.Allow(vault.Identity{TenantID: TenantID, ClientID: ClientID}) // of every ServiceAccount
	return nil
}
