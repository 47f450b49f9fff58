# birthday_scheduler: build, test and try out.  "make help" lists the targets.

EXTENSION = birthday_scheduler
EXTVERSION = 1.0.0
MODULE_big = $(EXTENSION)
PGFILEDESC = "birthday_scheduler - one greeting at nine by the user's own clock"

CORE_SRCS = $(sort $(wildcard src/core/*/*.c))
SENDER_SRCS = $(sort $(wildcard src/sender/*.c))
SRCS = $(CORE_SRCS) $(sort $(wildcard src/server/*/*.c))
OBJS = $(SRCS:.c=.o)

# The install script is the modules, joined in the order of the list.
INSTALL_SQL = sql/$(EXTENSION)--$(EXTVERSION).sql
SQL_LIST = $(shell sed 's/\#.*//' sql/install.list)
SQL_MODULES = $(SQL_LIST:%=sql/modules/%)
DATA_built = $(INSTALL_SQL)
# Scripts from one release to the next, beside it.
DATA = $(wildcard sql/$(EXTENSION)--*--*.sql)

# "make installcheck", see docs/testing.md.  The answers are in expected/, at the top,
# because pg_regress looks for them in its output folder first.
TEST_OUTPUT = .
test_opts = --inputdir=test --outputdir=$(TEST_OUTPUT) --launcher=tools/as_15.sh \
	--encoding=UTF8 --no-locale
REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = $(test_opts)
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = $(test_opts)
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

PG_CPPFLAGS = -Isrc -DBS_VERSION='"$(EXTVERSION)"' \
	-DBS_SYSTEM_TZDIR='"$(SYSTEM_TZDIR)"'
# "make FAILPOINTS=1": for tests alone, see src/server/base/bs_failpoint.h.
ifneq ($(FAILPOINTS),)
PG_CPPFLAGS += -DBS_FAILPOINTS
endif
PG_CFLAGS = -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers
SHLIB_LINK = -lcurl -lrabbitmq -lcjson
EXTRA_CLEAN = $(INSTALL_SQL) build $(SENDER) $(SENDER_OBJS)

PG_CONFIG ?= pg_config
# The zone database that this server was built to read; empty: its own copy.
SYSTEM_TZDIR = $(shell $(PG_CONFIG) --configure | tr -d "'" | tr ' ' '\n' | \
	sed -n 's/^--with-system-tzdata=//p')

.DEFAULT_GOAL = all
ifeq ($(shell command -v $(PG_CONFIG)),)
# Nothing is installed yet: only the targets of tools/targets.mk can be made.
.PHONY: all install uninstall clean
all install uninstall:
	@echo "make: there is no $(PG_CONFIG): \"make setup\" installs what is missing on Debian," \
		"PG_CONFIG=/path/to/pg_config names another server" >&2; exit 1
clean:
	rm -rf $(OBJS) $(OBJS:.o=.bc) $(MODULE_big).so $(EXTRA_CLEAN)
else
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
PROVE_FLAGS = -I test/lib
endif

include tools/targets.mk

$(INSTALL_SQL): $(SQL_MODULES) sql/install.list tools/join_sql.sh
	tools/join_sql.sh $(EXTENSION) $@

# A sender outside of the server: the same objects of src/core, and none of the
# server's.  Built where the headers of libpq and libmicrohttpd are.
# It belongs to no server version, and is installed where it is found by its name.
SENDER = bs_sender
SENDER_PREFIX ?= /usr/local
SENDER_UNIT_DIR = $(SENDER_PREFIX)/lib/systemd/system
WITH_SENDER ?= $(if $(and $(wildcard $(includedir)/libpq-fe.h), \
	$(wildcard /usr/include/microhttpd.h)),yes,no)
SENDER_OBJS = $(SENDER_SRCS:.c=.o)

# Every object depends on every header, and on the version: small tree, no stale builds.
$(OBJS) $(SENDER_OBJS): Makefile $(wildcard src/*/*.h src/*/*/*.h src/*/*/*.def)

$(SENDER): $(SENDER_OBJS) $(CORE_SRCS:.c=.o)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -L$(libdir) -lpq -lcurl -lrabbitmq \
		-lcjson -lmicrohttpd -lpthread -lm

$(SENDER_OBJS): override CPPFLAGS := -Isrc -DBS_VERSION='"$(EXTVERSION)"' \
	-I$(includedir) $(CPPFLAGS)

ifeq ($(strip $(WITH_SENDER)),yes)
all: $(SENDER)
install: install-sender
uninstall: uninstall-sender
endif

.PHONY: install-sender uninstall-sender
install-sender: $(SENDER)
	$(MKDIR_P) '$(DESTDIR)$(SENDER_PREFIX)/bin' \
		'$(DESTDIR)$(SENDER_PREFIX)/share/man/man1' '$(DESTDIR)$(SENDER_UNIT_DIR)'
	$(INSTALL_PROGRAM) $(SENDER) '$(DESTDIR)$(SENDER_PREFIX)/bin/$(SENDER)'
	$(INSTALL_DATA) src/sender/bs_sender.1 '$(DESTDIR)$(SENDER_PREFIX)/share/man/man1/'
	sed 's|^ExecStart=/usr/bin/|ExecStart=$(SENDER_PREFIX)/bin/|' src/sender/bs_sender.service \
		>'$(DESTDIR)$(SENDER_UNIT_DIR)/bs_sender.service'

uninstall-sender:
	rm -f '$(DESTDIR)$(SENDER_PREFIX)/bin/$(SENDER)' \
		'$(DESTDIR)$(SENDER_PREFIX)/share/man/man1/bs_sender.1' \
		'$(DESTDIR)$(SENDER_UNIT_DIR)/bs_sender.service'
