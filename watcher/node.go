package watcher

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// node is the view of a Node: whether it lives.
type node struct {
	metav1.ObjectMeta

	ready bool
}

func slimNode(n *corev1.Node) *node {
	slim := &node{ObjectMeta: identity(&n.ObjectMeta)}
	slim.ResourceVersion = "" // changes all day
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			slim.ready = c.Status == corev1.ConditionTrue
		}
	}
	return slim
}
