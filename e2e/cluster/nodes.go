package cluster

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed stages.yaml
var stagesTemplate string

// needsKubelet is true (in jq) for a pod that mounts a volume of the Secrets
// Store CSI driver or takes something from a Secret: kwok must not start it,
// since its start depends on content. It is the same rule as driver.Owns, and
// a test holds the two together. No part of it fails on an absent field.
const needsKubelet = `[ ( .spec.volumes[]? | ` +
	`.csi.driver == "secrets-store.csi.k8s.io", ` +
	`.secret != null, ` +
	`any(.projected.sources[]?; .secret != null) ), ` +
	`( .spec.containers[]?, .spec.initContainers[]? | ` +
	`( .env[]? | .valueFrom.secretKeyRef != null ), ` +
	`( .envFrom[]? | .secretRef != null ) ) ] | any`

// stages is what kwok does to nodes and pods.
func stages() string {
	return strings.ReplaceAll(stagesTemplate, "@needsKubelet@", needsKubelet)
}

// nodeName is what the nodes of Options.Nodes are called, from 1 on.
func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

// AddNode adds a node and returns once pods can be scheduled on it.
func (c *Cluster) AddNode(ctx context.Context, name string) error {
	if err := c.createNode(ctx, name); err != nil {
		return err
	}
	return c.waitForNode(ctx, name)
}

func (c *Cluster) createNode(ctx context.Context, name string) error {
	room := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("64"),
		corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods:   resource.MustParse("1000"),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname:   name,
			corev1.LabelOSStable:   "linux",
			corev1.LabelArchStable: "amd64",
		}},
		Status: corev1.NodeStatus{Allocatable: room, Capacity: room},
	}
	if _, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	return nil
}

// waitForNode waits for the node to be ready, and for the node controller to have noticed.
func (c *Cluster) waitForNode(ctx context.Context, name string) error {
	return c.await(ctx, "node "+name+" ready", func(ctx context.Context) error {
		node, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, taint := range node.Spec.Taints {
			return fmt.Errorf("has the taint %s", taint.Key)
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("has no condition Ready")
	})
}
