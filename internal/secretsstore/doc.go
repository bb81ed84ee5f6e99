// Package secretsstore speaks the two resources of the Secrets Store CSI
// driver, group secrets-store.csi.x-k8s.io/v1, as small Go types with a client.
//
//	SecretProviderClass           what to fetch, and which Secret to fill with it;
//	                              written by people, or by Keyroll for them
//	SecretProviderClassPodStatus  what one pod's mount of one class holds,
//	                              written by the driver alone
//
// The types hold every field of the driver's own (driver v1.6.0 apis/v1) but a
// class's status.byPod: Keyroll writes whole classes only where it made them.
//
// Keyroll never writes a SecretProviderClassPodStatus: the driver updates its
// cached copy, and an update by anyone else makes it miss a rotation
// (driver v1.6.0 pkg/secrets-store/utils.go).
package secretsstore
