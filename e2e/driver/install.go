package driver

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"keyroll.dev/e2e/vault"
)

//go:embed crds.yaml
var crds []byte

// Install applies what the driver's Helm chart brings and the watcher may look
// at: the two kinds and the CSIDriver object.
func (d *Driver) Install(ctx context.Context) error {
	if err := d.InstallCRDs(ctx); err != nil {
		return err
	}
	return d.installDriver(ctx)
}

// InstallAlone does the same to a cluster in which no pod is to start, so that
// nobody plays the driver.
func InstallAlone(ctx context.Context, cfg *rest.Config) error {
	d, err := New(Config{REST: cfg, Vault: vault.New(), Nodes: []string{"node-1"}})
	if err != nil {
		return err
	}
	return d.Install(ctx)
}

// InstallCRDs applies the two kinds and waits until they are served.
func (d *Driver) InstallCRDs(ctx context.Context) error {
	c, err := apiextensions.NewForConfig(d.cfg.REST)
	if err != nil {
		return err
	}
	kinds, err := decodeCRDs()
	if err != nil {
		return err
	}
	for _, crd := range kinds {
		_, err := c.CustomResourceDefinitions().Create(ctx, crd, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create %s: %w", crd.Name, err)
		}
	}
	return d.served(ctx)
}

// UninstallCRDs removes the two kinds with all their objects, and waits for it.
func (d *Driver) UninstallCRDs(ctx context.Context) error {
	c, err := apiextensions.NewForConfig(d.cfg.REST)
	if err != nil {
		return err
	}
	kinds, err := decodeCRDs()
	if err != nil {
		return err
	}
	for _, crd := range kinds {
		if err := c.CustomResourceDefinitions().Delete(ctx, crd.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s: %w", crd.Name, err)
		}
		if err := poll(ctx, func() bool {
			_, err := c.CustomResourceDefinitions().Get(ctx, crd.Name, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}); err != nil {
			return fmt.Errorf("%s is not gone: %w", crd.Name, err)
		}
	}
	return nil
}

func decodeCRDs() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var kinds []*apiextensionsv1.CustomResourceDefinition
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(crds), 4096)
	for {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		err := documents.Decode(crd)
		if errors.Is(err, io.EOF) {
			return kinds, nil
		}
		if err != nil {
			return nil, fmt.Errorf("crds.yaml: %w", err)
		}
		kinds = append(kinds, crd)
	}
}

// served waits until both kinds answer lists.
func (d *Driver) served(ctx context.Context) error {
	err := poll(ctx, func() bool {
		_, classes := d.kubelet.classes("").List(ctx, metav1.ListOptions{Limit: 1})
		_, statuses := d.kubelet.podStatuses("").List(ctx, metav1.ListOptions{Limit: 1})
		return classes == nil && statuses == nil
	})
	if err != nil {
		return fmt.Errorf("the driver's kinds are not served: %w", err)
	}
	return nil
}

func poll(ctx context.Context, done func() bool) error {
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 3*time.Minute, true,
		func(context.Context) (bool, error) { return done(), nil })
}

// installDriver writes the CSIDriver object as the chart of the generation does.
func (d *Driver) installDriver(ctx context.Context) error {
	want := &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: Name, Labels: map[string]string{
			"app.kubernetes.io/version": strings.TrimPrefix(d.gen().String(), "v"),
		}},
		Spec: storagev1.CSIDriverSpec{
			AttachRequired:       ptr.To(false),
			PodInfoOnMount:       ptr.To(true),
			VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral},
			RequiresRepublish:    ptr.To(d.republishes()),
		},
	}
	for _, audience := range d.tokenAudiences() {
		want.Spec.TokenRequests = append(want.Spec.TokenRequests, storagev1.TokenRequest{Audience: audience})
	}
	if d.gen() == Republishing && len(want.Spec.TokenRequests) > 0 {
		want.Spec.ServiceAccountTokenInSecrets = ptr.To(true)
	}
	drivers := d.kubelet.StorageV1().CSIDrivers()
	_, err := drivers.Create(ctx, want, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	have, err := drivers.Get(ctx, Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	have.Labels = want.Labels
	have.Spec.RequiresRepublish = want.Spec.RequiresRepublish
	have.Spec.TokenRequests = want.Spec.TokenRequests
	have.Spec.ServiceAccountTokenInSecrets = want.Spec.ServiceAccountTokenInSecrets
	_, err = drivers.Update(ctx, have, metav1.UpdateOptions{})
	return err
}
