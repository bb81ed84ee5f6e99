// Package certs gives the webhook the certificate that it serves with, and
// sees to it that the API server trusts it.
//
// There are three sources behind [Source]. The default, [Dynamic], needs
// nothing else to be installed:
//
//		Secret (CA) ◄─► authority ─► gate ─► cert-manager's DynamicSource ─► TLS server
//		                    │          ▲
//		                    ▼          │ does the live caBundle of every entry verify this leaf?
//		                 keeper ─► MutatingWebhookConfiguration
//
//	  - The authority keeps a CA in one Secret that all replicas share. Whoever
//	    comes first creates or renews it; the others take what is stored.
//	  - The keeper merges that CA into the caBundle of each entry of our
//	    configuration. Every replica has one; they need no leader, because the
//	    merge of the same certificates is the same, and a write that would lose
//	    another's certificate is a conflict that is tried again.
//	  - The gate holds a new serving certificate back until each entry's bundle
//	    verifies it and other API servers had time to see that. Until then the
//	    former certificate is served, which the bundle still verifies: a rotation
//	    drops no request. A replica that never had one is not ready.
//
// What happens to a new leaf:
//
//	stored CA   bundle of every entry      served
//	changed     lacks the CA               former leaf; the keeper adds the CA
//	            has it, for less than 2 s  former leaf
//	            has it                     new leaf
//	            blanked by someone         whatever is served stays; the keeper adds the stored CA and the served leaf's
//
// [Secret] serves what cert-manager (or anybody) puts into a Secret, behind the
// same gate; the bundle is then someone else's to write. [File] serves files.
//
// All certificates that are made here are valid for an hour more on either side
// than their nominal life, and are renewed by the nominal one, so that neither
// an API server nor a replica whose clock is off refuses them.
package certs
