// Package queuetest measures the queues side by side, with the drivers that they
// need.
package queuetest
