package sqlledger

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// schemaVersion is the newest version of the schema, and the one that the
// statements of this package need.
const schemaVersion = 3

var (
	//go:embed schema/postgres_1.sql
	postgres1 string
	//go:embed schema/postgres_2.sql
	postgres2 string
	//go:embed schema/postgres_3.sql
	postgres3 string
	//go:embed schema/sqlite_1.sql
	sqlite1 string
	//go:embed schema/sqlite_2.sql
	sqlite2 string
	//go:embed schema/sqlite_3.sql
	sqlite3 string

	postgresMigrations = [schemaVersion]string{postgres1, postgres2, postgres3}
	sqliteMigrations   = [schemaVersion]string{sqlite1, sqlite2, sqlite3}
)

// SQL returns the statements that create the tables, for those who run their own
// migrations; see [Config].SkipMigration. Run them in one transaction. Of cfg it
// uses Dialect, which must be set, Schema and TablePrefix. Each version of the
// schema has a part headed by a comment; a database of an older version needs
// only the later parts.
//
// It returns an error when cfg is not valid.
func SQL(cfg Config) (string, error) {
	if cfg.Dialect == Detect {
		return "", errors.New("sqlledger: Config.Dialect is to be set")
	}
	n, err := cfg.names()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if n.schema != "" && n.schema != defaultSchema {
		fmt.Fprintf(&b, "create schema if not exists %s;\n\n", quoted(n.schema))
	}
	for version := range schemaVersion {
		fmt.Fprintf(&b, "-- Version %d\n\n%s\n", version+1, n.migration(cfg.Dialect, version))
	}
	return b.String(), nil
}

// names are how the tables are called.
type names struct {
	schema string
	prefix string
}

const (
	defaultSchema = "public"
	defaultPrefix = "bridge_"
	maxSchema     = 63
)

// prefixes need no quotes, and leave room for the rest of a name.
var prefixes = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

func (c *Config) names() (names, error) {
	n := names{schema: c.Schema, prefix: cmp.Or(c.TablePrefix, defaultPrefix)}
	if !prefixes.MatchString(n.prefix) {
		return n, fmt.Errorf("sqlledger: Config.TablePrefix %q is to be lower-case letters, digits and underscores, at most 40, and not to begin with a digit", n.prefix)
	}
	switch c.Dialect {
	case SQLite:
		if n.schema != "" {
			return n, errors.New("sqlledger: Config.Schema is for PostgreSQL")
		}
	case Postgres:
		n.schema = cmp.Or(n.schema, defaultSchema)
		if len(n.schema) > maxSchema || !isText(n.schema) {
			return n, fmt.Errorf("sqlledger: Config.Schema %q is not a name", n.schema)
		}
	case Detect:
	default:
		return n, fmt.Errorf("sqlledger: Config.Dialect %d is unknown", c.Dialect)
	}
	return n, nil
}

// table returns the name of a table, or of a function.
func (n names) table(name string) string {
	if n.schema == "" {
		return n.prefix + name
	}
	return quoted(n.schema) + "." + n.prefix + name
}

// sql fills in the names: {p} stands for the schema and the prefix, {i} for the
// prefix alone, as the name of a new index has no schema.
func (n names) sql(statement string) string {
	return strings.NewReplacer("{p}", n.table(""), "{i}", n.prefix).Replace(statement)
}

// migration returns the statements that turn a schema of that version into one
// of the next.
func (n names) migration(d Dialect, version int) string {
	migrations := sqliteMigrations
	if d == Postgres {
		migrations = postgresMigrations
	}
	return n.sql(fmt.Sprintf("%s\ninsert into {p}migrations (version) values (%d);\n", migrations[version], version+1))
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// isText reports whether both databases can store s and give it back as it is.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
