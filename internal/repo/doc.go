// Package repo holds the rules of this repository as tests: what imports what,
// what stays pure, what the product may require, and that the README tells the
// truth. It has no code of its own.
package repo
