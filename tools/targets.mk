# Targets for people; the build itself is in the Makefile.

# ---- plain C: unit tests and fuzzers of src/core, no server needed ----------

UNIT_CC = gcc
UNIT_DIR = build/unit
UNIT_FLAGS = -std=gnu11 -g -O1 -Wall -Wextra -Isrc -Itest/unit \
	-fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
UNIT_TESTS = $(patsubst test/unit/%.c,$(UNIT_DIR)/%,$(sort $(wildcard test/unit/test_*.c)))
CORE_LIBS = -lcurl -lrabbitmq -lcjson -lpthread -lm
CORE_HDRS = $(wildcard src/core/*/*.h src/core/*/*.def)
# What the tests share: relay, broker, hosts, readers.
KIT_SRCS = $(filter-out $(wildcard test/unit/test_*.c) test/unit/mime_driver.c,$(wildcard test/unit/*.c))
KIT_HDRS = $(wildcard test/unit/*.h) $(CORE_HDRS)

$(UNIT_DIR)/core/%.o: src/core/%.c $(CORE_HDRS)
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_FLAGS) -c -o $@ $<

$(UNIT_DIR)/kit/%.o: test/unit/%.c $(KIT_HDRS)
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_FLAGS) -c -o $@ $<

# src/core and what the tests share; each program is linked with what it calls.
UNIT_LIB = $(UNIT_DIR)/unit.a
$(UNIT_LIB): $(CORE_SRCS:src/%.c=$(UNIT_DIR)/%.o) $(KIT_SRCS:test/unit/%.c=$(UNIT_DIR)/kit/%.o)
	@rm -f $@
	ar rcs $@ $^

# The programs: test_*, and mime_driver, which test/unit/mime_roundtrip.py talks to.
$(UNIT_DIR)/%: test/unit/%.c $(KIT_HDRS) $(UNIT_LIB)
	$(UNIT_CC) $(UNIT_FLAGS) -o $@ $< $(UNIT_LIB) $(CORE_LIBS)

.PHONY: unit-tests fuzzers
unit-tests: $(UNIT_TESTS) $(UNIT_DIR)/mime_driver

# bs_sender with the same eyes on it; "BS_SENDER=$PWD/build/unit/bs_sender" has the
# tests run it.
$(UNIT_DIR)/bs_sender: $(SENDER_SRCS) $(wildcard src/sender/*.h) $(UNIT_LIB)
	$(UNIT_CC) $(UNIT_FLAGS) -DBS_VERSION='"$(EXTVERSION)"' -I$(includedir) \
		-o $@ $(SENDER_SRCS) $(UNIT_LIB) -lpq -lmicrohttpd $(CORE_LIBS)

FUZZ_CC = clang
FUZZ_FLAGS = -std=gnu11 -g -O1 -Wall -Wextra -Isrc \
	-fsanitize=address,undefined -fno-sanitize-recover=all
FUZZERS = $(patsubst test/fuzz/%.c,build/fuzz/%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
# Of bs_sender, all that reads.
FUZZ_SRCS = $(CORE_SRCS) $(wildcard test/unit/mime_check*.c) $(addprefix src/sender/sender_, \
	database.c file.c setting.c settings.c value.c work.c)
FUZZ_HDRS = $(KIT_HDRS) $(wildcard test/fuzz/*.h src/sender/*.h)
FUZZ_DEFINES = -DBS_VERSION='"$(EXTVERSION)"' -I$(includedir)

build/fuzz/objects/%.o: %.c $(FUZZ_HDRS)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link $(FUZZ_DEFINES) -c -o $@ $<

FUZZ_LIB = build/fuzz/fuzz.a
$(FUZZ_LIB): $(FUZZ_SRCS:%.c=build/fuzz/objects/%.o)
	@rm -f $@
	ar rcs $@ $^

build/fuzz/fuzz_%: test/fuzz/fuzz_%.c $(FUZZ_HDRS) $(FUZZ_LIB)
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer $(FUZZ_DEFINES) -o $@ $< $(FUZZ_LIB) -lpq $(CORE_LIBS)

fuzzers: $(FUZZERS)

# ---- set-up and tests -------------------------------------------------------

.PHONY: setup test

# What is missing on a Debian machine, with apt-get, as root or by sudo.
setup:
	@tools/setup.sh build test

# "make test TESTS='tap test/t/x.pl'" runs some of them.  The build is a make of
# its own, because this one may have begun without pg_config.
test: setup
	@echo "== build"
	+@$(MAKE) -s --no-print-directory -j"$$(nproc)" all
	@PG_CONFIG="$(PG_CONFIG)" exec tools/run_tests.sh $(TESTS)

# PGXS has no pgTAP: the scripts run in a database "pgtap", which is made for them.
PGTAP = $(sort $(wildcard test/pgtap/*.sql))
psql = $(bindir)/psql -XAtq -P pager=off -v ON_ERROR_STOP=1

.PHONY: installcheck installcheck-pgtap
installcheck: $(if $(PGTAP),installcheck-pgtap)
installcheck-pgtap:
	$(psql) -d postgres -f test/lib/pgtap.sql
	PGDATABASE=pgtap prove --timer --nocolor --exec "$(psql) -f" $(PGTAP)

# ---- trying it out ----------------------------------------------------------

#: demo           install what is missing, build, show mails arrive in a minute;
#:                "make demo QUEUE=rabbitmq": through a broker of its own
#: psql           SQL in the demo's database
#: seed           a hundred sample people with a past, into the demo
#: demo-stop      end the demo and remove what it left
#: setup          install what is missing on Debian to build and test, as root or by sudo
#: test           install what is missing and run every kind of test
#:                "make test TESTS='regress test/t/docs.pl'": some of it
#: installcheck   regress, isolation, pgTAP and TAP tests of the extension that is installed
#:                into the server of PG_CONFIG: docs/testing.md
#: test-servers   the tests on servers 15, 17, 18 and 19, each on its Debian, below build/;
#:                hours, as root: "make test-servers SERVERS='17 18' TESTS='regress isolation'"
#: test-valgrind  the server under valgrind, half an hour
#: bench          measure lateness and speed, two hours; build/bench keeps it
#: bench-quick    the same once and small: does it work at all?
#: chaos          faults at random and in order, half an hour; prints what was lost
#:                "make chaos QUEUE=rabbitmq FAULTS=200 MESSAGES=100000 KILLS=50
#:                SEED=7 HOURS=8 CHAOS='storm bursts'": some of it, and more
#: coverage       which lines of src/core the unit tests reach
#: format         format all C
#: lint           look for trouble without running anything
#: help           this list
#: all            build the library and the install script
#: install        install both into the server of PG_CONFIG
#: clean          remove what was built

.PHONY: help demo demo-setup demo-stop psql seed

help:
	@sed -n 's/^#: \([a-z]\)/  make \1/p; s/^#: /       /p' Makefile tools/targets.mk

demo-setup:
	@tools/setup.sh build demo $(if $(filter rabbitmq,$(QUEUE)),broker)

# A make of its own builds, as for "test".
demo: demo-setup
	+@$(MAKE) --no-print-directory -s -j"$$(nproc)" all
	@PG_CONFIG="$(PG_CONFIG)" tools/private_pg.sh >/dev/null
	@tools/demo.sh start $(if $(QUEUE),--queue $(QUEUE))

psql:
	@tools/demo.sh psql

seed:
	@tools/demo.sh seed

demo-stop:
	@tools/demo.sh stop

# "clean" removes build/, and with it what a running demo stands on.
.PHONY: demo-gone
demo-gone:
	@if [ -e build/demo ] || [ -e build/demo.place ]; then tools/demo.sh stop; fi

clean: demo-gone

# ---- measuring ------------------------------------------------------------------

# Plain C again, as fast as it gets.
BENCH_PROGRAMS = $(patsubst test/bench/%.c,build/bench_c/%,$(sort $(wildcard test/bench/*.c)))

build/bench_c/%: test/bench/%.c $(CORE_SRCS:.c=.o) $(CORE_HDRS)
	@mkdir -p $(@D)
	$(UNIT_CC) -std=gnu11 -g -O2 -Wall -Wextra -Isrc -o $@ $< $(CORE_SRCS:.c=.o) $(CORE_LIBS)

.PHONY: bench bench-quick bench-setup bench-programs
bench-programs: $(BENCH_PROGRAMS)

bench-setup:
	@tools/setup.sh build demo bench

# "make bench BENCH='--runs 3 burst'" measures some of it.
bench: bench-setup
	+@$(MAKE) -s --no-print-directory -j"$$(nproc)" all
	@PG_CONFIG="$(PG_CONFIG)" tools/bench.sh $(BENCH)

bench-quick: bench-setup
	+@$(MAKE) -s --no-print-directory -j"$$(nproc)" all
	@PG_CONFIG="$(PG_CONFIG)" tools/bench.sh --quick $(BENCH)

# ---- what it survives ----------------------------------------------------------

CHAOS_LIBRARIES = $(patsubst test/chaos/%.c,build/chaos_c/%.so,$(wildcard test/chaos/*.c))

build/chaos_c/%.so: test/chaos/%.c
	@mkdir -p $(@D)
	$(UNIT_CC) -std=gnu11 -O2 -Wall -Wextra -fPIC -shared -o $@ $<

.PHONY: chaos chaos-libraries
chaos-libraries: $(CHAOS_LIBRARIES)

chaos:
	@tools/setup.sh build test
	+@$(MAKE) -s --no-print-directory -j"$$(nproc)" all
	@PG_CONFIG="$(PG_CONFIG)" tools/chaos.sh \
		--queue $(or $(QUEUE),both) --faults $(or $(FAULTS),60) \
		--messages $(or $(MESSAGES),20000) --kills $(or $(KILLS),10) \
		--hours $(or $(HOURS),0) $(if $(SEED),--seed $(SEED)) \
		$(or $(CHAOS),storm bursts clock replaced failpoints)

# ---- form and habits ---------------------------------------------------------

.PHONY: format lint

format:
	@tools/indent.sh

lint: setup
	@tools/setup.sh lint
	+@$(MAKE) -s --no-print-directory -j"$$(nproc)" all
	@PG_CONFIG="$(PG_CONFIG)" tools/lint.sh
	@PG_CONFIG="$(PG_CONFIG)" exec tools/run_tests.sh lint

# ---- which lines of src/core the unit tests reach ----------------------------

.PHONY: coverage

coverage: setup
	@tools/coverage.sh

# ---- every server that is supported ------------------------------------------

.PHONY: test-servers

test-servers:
	@tools/servers.sh $(if $(TESTS),--tests "$(TESTS)") $(SERVERS)

# ---- the server under valgrind: half an hour -------------------------------

.PHONY: test-valgrind

test-valgrind: setup
	@tools/setup.sh valgrind
	+@$(MAKE) -s --no-print-directory -j"$$(nproc)" all
	@PG_CONFIG="$(PG_CONFIG)" exec tools/run_tests.sh valgrind $(TESTS)

# ---- containers, archives, packages -----------------------------------------

#: docker-up      the whole installation in containers: docs/docker.md
#: docker-down    end it; its data stays
#: docker-test    build the image for 15 and 17 without Docker and try it, minutes; as root
#: dist           archives of a release, as PGXN takes them, in build/dist
#: deb            the Debian package for the server of PG_CONFIG, in build/deb
#: deb-test       make and install it on a fresh Debian for each server, minutes; as root
#:                "make deb-test SERVERS=17": for some

.PHONY: docker-up docker-down docker-test dist deb deb-test

docker-up:
	@tools/docker.sh up

docker-down:
	@tools/docker.sh down

docker-test:
	@tools/setup.sh image
	@tools/try_image.sh $(SERVERS)

dist:
	@tools/dist.sh

deb:
	@tools/setup.sh build deb
	@tools/deb.sh

deb-test:
	@tools/setup.sh image
	@tools/try_deb.sh $(SERVERS)
