// Package cmdtest tests the command bridge as it is used: by its arguments, its
// output and its exit status, against real handlers. It has a module of its own
// because the library needs no testscript.
package cmdtest
