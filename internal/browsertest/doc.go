// Package browsertest opens the page of package eventlog in a real browser. It
// has a module of its own, as only these tests need a driver for one.
package browsertest
