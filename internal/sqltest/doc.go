// Package sqltest holds the tests of package sqlledger, which need the drivers
// of the databases. Those against PostgreSQL are skipped unless
// BRIDGE_TEST_POSTGRES holds the URL of a server on which they may create
// schemas; postgres.sh starts one.
package sqltest
