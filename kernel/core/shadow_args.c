// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parsers of the table line and of messages; shadow_args.h says what they promise.
 */
#include "shadow_args.h"

static int fail(const char **error, const char *sentence)
{
	*error = sentence;
	return -EINVAL;
}

/* Decimal digits only, no sign, no space; stops at @end or at the end of the string. */
static bool parse_u64(const char *s, char end, u64 *value, const char **rest)
{
	u64 v = 0;

	if (*s < '0' || *s > '9')
		return false;
	for (; *s && *s != end; s++) {
		u64 digit = (u64)(*s - '0');

		if (*s < '0' || *s > '9' || v > (~0ull - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*value = v;
	if (rest)
		*rest = s;
	return true;
}

static const char *const roles[SHADOW_NR_LEGS] = { "origin", "target", "tier1", "tier2" };

const char *shadow_leg_name(unsigned int leg)
{
	return leg < SHADOW_NR_LEGS ? roles[leg] : "?";
}

static int leg_by_role(const char *role)
{
	int i;

	for (i = 0; i < SHADOW_NR_LEGS; i++)
		if (!strcmp(role, roles[i]))
			return i;
	return -1;
}

static int tier_by_role(const char *role)
{
	int leg = leg_by_role(role);

	return leg >= SHADOW_LEG_TIER1 ? leg : -1;
}

static int policy_by_name(const char *name)
{
	int i;

	for (i = 0; i < SHADOW_NR_POLICIES; i++)
		if (!strcmp(name, shadow_policy_name((enum shadow_policy)i)))
			return i;
	return -1;
}

static bool id_ok(const char *id)
{
	size_t n = 0;

	for (; id[n]; n++) {
		char c = id[n];

		if (n >= SHADOW_ID_MAX ||
		    !((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		      (c >= '0' && c <= '9') || c == '_' || c == '.' || c == ':' ||
		      c == '+' || c == '-'))
			return false;
	}
	return n > 0;
}

static int parse_legs(unsigned int nr, char **argv, struct shadow_table *t, const char **error)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		const char *role = argv[2 * i], *path = argv[2 * i + 1];
		int leg = leg_by_role(role);

		if (leg < 0)
			return fail(error, "Unknown role: use origin, target, tier1, tier2");
		if (t->legs[leg].given)
			return fail(error, "A role is given twice: each leg needs its own");
		t->legs[leg].given = true;
		t->legs[leg].path = path;
		t->legs[leg].missing = !strcmp(path, "-");
	}
	if (!t->legs[SHADOW_LEG_ORIGIN].given)
		return fail(error, "There is no origin: give \"origin <dev>\" or \"origin -\"");
	if (t->legs[SHADOW_LEG_ORIGIN].missing &&
	    (!t->legs[SHADOW_LEG_TARGET].given || t->legs[SHADOW_LEG_TARGET].missing))
		return fail(error, "No leg is left: at least one device must be there");
	return 0;
}

static int parse_features(unsigned int nr, char **argv, struct shadow_table *t,
			  const char **error)
{
	unsigned int i = 0;

	while (i < nr) {
		const char *name = argv[i];
		unsigned int left = nr - i - 1;

		if (!strcmp(name, "fresh")) {
			t->fresh = true;
			i += 1;
		} else if (!strcmp(name, "shrink")) {
			t->shrink = true;
			i += 1;
		} else if (!strcmp(name, "read")) {
			int policy = left < 1 ? -1 : policy_by_name(argv[i + 1]);

			if (policy < 0)
				return fail(error, "Feature read: unknown policy");
			t->policy = (u8)policy;
			i += 2;
		} else if (!strcmp(name, "leg_id")) {
			int leg = left < 2 ? -1 : leg_by_role(argv[i + 1]);

			if (leg < 0 || !t->legs[leg].given)
				return fail(error, "Feature leg_id: needs a role and an id");
			if (!id_ok(argv[i + 2]))
				return fail(error, "A leg_id has 1 to 63 of A-Za-z0-9_.:+-");
			t->legs[leg].id = argv[i + 2];
			i += 3;
		} else if (!strcmp(name, "writeback")) {
			int leg = left < 1 ? -1 : tier_by_role(argv[i + 1]);

			if (leg < 0 || !t->legs[leg].given)
				return fail(error, "Feature writeback: needs a tier of the table");
			t->writeback |= (u8)(1u << leg);
			i += 2;
		} else {
			return fail(error,
				    "Unknown feature: use leg_id, fresh, shrink, read, writeback");
		}
	}
	return 0;
}

static int check_ids(const struct shadow_table *t, const char **error)
{
	int i, j;

	for (i = SHADOW_LEG_TIER1; i < SHADOW_NR_LEGS; i++)
		if (t->legs[i].given && !t->legs[i].missing && !t->legs[i].id[0])
			return fail(error, "A tier must be named with leg_id");
	for (i = 0; i < SHADOW_NR_LEGS; i++)
		for (j = 0; j < i; j++)
			if (t->legs[i].id[0] && !strcmp(t->legs[i].id, t->legs[j].id))
				return fail(error, i == SHADOW_LEG_TARGET ?
					    "Origin and target have the same leg_id" :
					    "Two legs have the same leg_id");
	return 0;
}

int shadow_parse_table(unsigned int argc, char **argv, struct shadow_table *t,
		       const char **error)
{
	u64 bs, legs, features = 0;
	unsigned int used;
	int i, r;

	memset(t, 0, sizeof(*t));
	for (i = 0; i < SHADOW_NR_LEGS; i++)
		t->legs[i].id = "";

	if (argc < 5)
		return fail(error, "Too few arguments: <metadata dev> <block sectors> <#legs> ...");
	t->metadata = argv[0];

	if (!parse_u64(argv[1], '\0', &bs, NULL) || bs < SHADOW_MIN_BLOCK_SECTORS ||
	    bs > SHADOW_MAX_BLOCK_SECTORS || (bs & (bs - 1)))
		return fail(error, "Block size must be a power of two from 128 to 32768 sectors");
	t->block_sectors = (u32)bs;

	if (!parse_u64(argv[2], '\0', &legs, NULL) || legs < 1 || legs > SHADOW_NR_LEGS)
		return fail(error, "Number of legs must be 1 to 4");
	if (argc < 3 + 2 * legs)
		return fail(error, "Too few arguments: a role or a device of a leg is missing");
	r = parse_legs((unsigned int)legs, argv + 3, t, error);
	if (r)
		return r;

	used = 3 + 2 * (unsigned int)legs;
	if (used < argc) {
		if (!parse_u64(argv[used], '\0', &features, NULL) ||
		    features != argc - used - 1)
			return fail(error, "Number of feature arguments is not what follows");
		r = parse_features((unsigned int)features, argv + used + 1, t, error);
		if (r)
			return r;
	}
	if (t->legs[SHADOW_LEG_TARGET].given && !t->legs[SHADOW_LEG_TARGET].missing &&
	    !t->legs[SHADOW_LEG_ORIGIN].missing &&
	    (!t->legs[SHADOW_LEG_ORIGIN].id[0] || !t->legs[SHADOW_LEG_TARGET].id[0]))
		return fail(error, "A table with a target must name both legs with leg_id");
	return check_ids(t, error);
}

bool shadow_parse_range(const char *s, u64 nr_blocks, struct shadow_range *range)
{
	const char *rest;

	range->count = 1;
	if (!parse_u64(s, '+', &range->first, &rest))
		return false;
	if (*rest == '+' && !parse_u64(rest + 1, '\0', &range->count, NULL))
		return false;
	return range->count && range->first < nr_blocks &&
	       range->count <= nr_blocks - range->first;
}

enum arg_kind {
	NO_ARGS, RANGES, MAYBE_RANGE, POLICY, TIER_RANGES, TIER_MODE, TIER_LOST, TIER_OR_OFF
};

static const struct {
	const char *name;
	enum shadow_message_type type;
	enum arg_kind args;
} messages[] = {
	{ "copy", SHADOW_MSG_COPY, RANGES },
	{ "remirror", SHADOW_MSG_REMIRROR, RANGES },
	{ "fill", SHADOW_MSG_FILL, RANGES },
	{ "retire", SHADOW_MSG_RETIRE, RANGES },
	{ "clear", SHADOW_MSG_CLEAR, NO_ARGS },
	{ "pause", SHADOW_MSG_PAUSE, NO_ARGS },
	{ "resume", SHADOW_MSG_RESUME, NO_ARGS },
	{ "cutover", SHADOW_MSG_CUTOVER, NO_ARGS },
	{ "rollback", SHADOW_MSG_ROLLBACK, NO_ARGS },
	{ "commit", SHADOW_MSG_COMMIT, NO_ARGS },
	{ "abort", SHADOW_MSG_ABORT, NO_ARGS },
	{ "sync", SHADOW_MSG_SYNC, NO_ARGS },
	{ "read", SHADOW_MSG_READ, POLICY },
	{ "map", SHADOW_MSG_MAP, MAYBE_RANGE },
	{ "access", SHADOW_MSG_ACCESS, MAYBE_RANGE },
	{ "promote", SHADOW_MSG_PROMOTE, TIER_RANGES },
	{ "demote", SHADOW_MSG_DEMOTE, RANGES },
	{ "writeback", SHADOW_MSG_WRITEBACK, RANGES },
	{ "mode", SHADOW_MSG_MODE, TIER_MODE },
	{ "forget", SHADOW_MSG_FORGET, TIER_LOST },
	{ "fetch", SHADOW_MSG_FETCH, TIER_OR_OFF },
	{ "tiers", SHADOW_MSG_TIERS, MAYBE_RANGE },
};

static int parse_limit(unsigned int argc, char **argv, struct shadow_message *m,
		       const char **error)
{
	static const struct {
		const char *name;
		enum shadow_message_type type;
	} limits[] = {
		{ "rate", SHADOW_MSG_LIMIT_RATE },
		{ "inflight", SHADOW_MSG_LIMIT_INFLIGHT },
		{ "tier_rate", SHADOW_MSG_LIMIT_TIER_RATE },
		{ "tier_inflight", SHADOW_MSG_LIMIT_TIER_INFLIGHT },
	};
	size_t i;

	/* a petabyte a second is enough, and keeps the arithmetic in 64 bits */
	if (argc == 3 && parse_u64(argv[2], '\0', &m->value, NULL) && m->value <= 1ull << 40)
		for (i = 0; i < ARRAY_SIZE(limits); i++)
			if (!strcmp(argv[1], limits[i].name)) {
				m->type = (u8)limits[i].type;
				return 0;
			}
	return fail(error, "use: limit [tier_]rate <KiB/s> or limit [tier_]inflight <KiB>");
}

/* mode <tier> writethrough|writeback, forget <tier> [lost], fetch <tier>|off */
static int parse_tier_word(unsigned int argc, char **argv, enum arg_kind kind,
			   struct shadow_message *m, const char **error)
{
	int tier = argc < 2 ? -1 : tier_by_role(argv[1]);

	if (kind == TIER_MODE) {
		if (argc != 3 || tier < 0 ||
		    (strcmp(argv[2], "writethrough") && strcmp(argv[2], "writeback")))
			return fail(error, "use: mode tier1|tier2 writethrough|writeback");
		m->flag = !strcmp(argv[2], "writeback");
	} else if (kind == TIER_OR_OFF) {
		if (argc == 2 && !strcmp(argv[1], "off"))
			return 0;
		if (argc != 2 || tier < 0)
			return fail(error, "use: fetch tier1|tier2|off");
	} else {
		if (tier < 0 || argc > 3 || (argc == 3 && strcmp(argv[2], "lost")))
			return fail(error, "use: forget tier1|tier2 [lost]");
		m->flag = argc == 3;
	}
	m->tier = (u8)tier;
	return 0;
}

static int parse_message_args(unsigned int argc, char **argv, u64 nr_blocks, enum arg_kind kind,
			      struct shadow_message *m, const char **error)
{
	unsigned int i, first = 1;
	struct shadow_range range;
	int policy, tier;

	switch (kind) {
	case NO_ARGS:
		if (argc != 1)
			return fail(error, "this message takes no arguments");
		return 0;
	case POLICY:
		policy = argc == 2 ? policy_by_name(argv[1]) : -1;
		if (policy < 0)
			return fail(error, "use: read target|origin|balance|mirror");
		m->value = (u64)policy;
		return 0;
	case MAYBE_RANGE:
		if (argc > 2)
			return fail(error, "this message takes one range at most");
		break;
	case TIER_MODE:
	case TIER_LOST:
	case TIER_OR_OFF:
		return parse_tier_word(argc, argv, kind, m, error);
	case TIER_RANGES:
		tier = argc < 2 ? -1 : tier_by_role(argv[1]);
		if (tier < 0)
			return fail(error, "use: promote tier1|tier2 <first block>[+<count>] ...");
		m->tier = (u8)tier;
		first = 2;
		fallthrough;
	case RANGES:
		if (argc <= first)
			return fail(error, "ranges are missing: <first block>[+<count>] ...");
		break;
	}
	m->first_range = first;
	m->nr_ranges = argc - first;
	for (i = first; i < argc; i++)
		if (!shadow_parse_range(argv[i], nr_blocks, &range))
			return fail(error, "range must be <first>[+<count>] inside the volume");
	return 0;
}

int shadow_parse_message(unsigned int argc, char **argv, u64 nr_blocks,
			 struct shadow_message *m, const char **error)
{
	size_t i;

	memset(m, 0, sizeof(*m));
	if (!argc)
		return fail(error, "empty message");
	if (!strcmp(argv[0], "limit"))
		return parse_limit(argc, argv, m, error);
	if (argc == 2 && !strcmp(argv[0], "clear") && !strcmp(argv[1], "tiers")) {
		m->type = SHADOW_MSG_CLEAR_TIERS;
		return 0;
	}
	for (i = 0; i < ARRAY_SIZE(messages); i++) {
		if (strcmp(argv[0], messages[i].name))
			continue;
		m->type = (u8)messages[i].type;
		return parse_message_args(argc, argv, nr_blocks, messages[i].args, m, error);
	}
	return fail(error, "unknown message: see the dm-shadow document for the list");
}
