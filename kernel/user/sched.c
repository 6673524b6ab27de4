// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fibers and who goes on next.
 *
 * A fiber is a thread of the kernel, an interrupt, or somebody of the host. It runs until it
 * sleeps, or until a point (an access that other CPUs may observe) where the step's dice let
 * another CPU come in. Then the step ends.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "internal.h"

#define STACK (128u << 10)	/* printf() alone takes 16 KiB of it now and then */
#define FIXED_IDS 32
#define IDS_PER_STEP 64
#define CLOCK 1			/* id of time */
#define ENDLESS 2000000		/* points in one step */
#define MAX_TICKS 60		/* of the clock, in one sim_run() */

struct sim_machine machine;
struct task_struct *sim_cur;
static struct task_struct fibers[SIM_FIBERS];
static u16 order[SIM_FIBERS];	/* used ones first */
static u32 nr_fibers;
static u32 step_index, ids_in_step;
bool sim_plain;
static u64 dice;
static s64 points_left;		/* until another CPU comes in */
static u32 points_in_step;
static void *main_sp;
static sigjmp_buf crashed;

/* --- dice ---------------------------------------------------------------------------------- */

u64 sim_random(void)
{
	u64 z = (dice += 0x9e3779b97f4a7c15ull);	/* splitmix64 */

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

u32 sim_below(u32 n)
{
	return (u32)(((sim_random() >> 32) * n) >> 32);
}

bool sim_one_in(u32 n)
{
	return n && !sim_below(n);
}

/* --- reports ------------------------------------------------------------------------------- */

static void report(const char *format, va_list args)
{
	if (machine.failed)
		return;
	vsnprintf(machine.what, sizeof(machine.what), format, args);
	machine.failed = true;
}

void sim_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(format, args);
	va_end(args);
}

static void to_main(void);

void sim_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(format, args);
	va_end(args);
	while (sim_cur)
		to_main();
	fprintf(stderr, "outside a fiber: %s\n", machine.what);
	abort();
}

void sim_log(const char *format, ...)
{
	char line[300];
	va_list args;

	if (!machine.note)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	machine.note(line);
}

/* --- switching ----------------------------------------------------------------------------- */

/* Saves what a call preserves, changes the stack. */
void sim_switch(void **from, void *to);
#if defined(__x86_64__)
__asm__(".text\n.globl sim_switch\n.type sim_switch,@function\nsim_switch:\n"
	"push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
	"mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
	"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
	".size sim_switch,.-sim_switch\n");
#define SAVED_WORDS 6
static void *first_frame(char *top, void (*entry)(void))
{
	void **sp = (void **)(top - 64);

	*--sp = NULL;
	*--sp = (void *)entry;
	return sp - SAVED_WORDS;
}
#elif defined(__aarch64__)
__asm__(".text\n.globl sim_switch\n.type sim_switch,%function\nsim_switch:\n"
	"stp x29,x30,[sp,#-160]!\n stp x19,x20,[sp,#16]\n stp x21,x22,[sp,#32]\n"
	"stp x23,x24,[sp,#48]\n stp x25,x26,[sp,#64]\n stp x27,x28,[sp,#80]\n"
	"stp d8,d9,[sp,#96]\n stp d10,d11,[sp,#112]\n stp d12,d13,[sp,#128]\n"
	"stp d14,d15,[sp,#144]\n mov x9,sp\n str x9,[x0]\n mov sp,x1\n"
	"ldp x19,x20,[sp,#16]\n ldp x21,x22,[sp,#32]\n ldp x23,x24,[sp,#48]\n"
	"ldp x25,x26,[sp,#64]\n ldp x27,x28,[sp,#80]\n ldp d8,d9,[sp,#96]\n"
	"ldp d10,d11,[sp,#112]\n ldp d12,d13,[sp,#128]\n ldp d14,d15,[sp,#144]\n"
	"ldp x29,x30,[sp],#160\n ret\n.size sim_switch,.-sim_switch\n");
static void *first_frame(char *top, void (*entry)(void))
{
	void **sp = (void **)(top - 64 - 160);

	memset(sp, 0, 160);
	sp[1] = (void *)entry;
	return sp;
}
#else
#error "kernel/user/sched.c has no switch for this processor: write sim_switch() and first_frame()"
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
static const void *main_bottom;
static size_t main_size;
static void *main_fake;
static void switch_to(struct task_struct *t)
{
	__sanitizer_start_switch_fiber(&main_fake, t->stack, STACK);
	sim_switch(&main_sp, t->sp);
	__sanitizer_finish_switch_fiber(main_fake, NULL, NULL);
}

static void to_main(void)
{
	struct task_struct *t = sim_cur;
	void *fake = NULL;

	__sanitizer_start_switch_fiber(t->used ? &fake : NULL, main_bottom, main_size);
	sim_switch(&t->sp, main_sp);
	__sanitizer_finish_switch_fiber(fake, &main_bottom, &main_size);
}

static void fiber_begins(void)
{
	__sanitizer_finish_switch_fiber(NULL, &main_bottom, &main_size);
}
#else
static void switch_to(struct task_struct *t)
{
	sim_switch(&main_sp, t->sp);
}

static void to_main(void)
{
	sim_switch(&sim_cur->sp, main_sp);
}

static void fiber_begins(void)
{
}
#endif

static void remove_fiber(struct task_struct *t)
{
	u32 i;

	t->used = false;
	for (i = 0; i < nr_fibers; i++)
		if (&fibers[order[i]] == t) {
			u16 mine = order[i];

			order[i] = order[--nr_fibers];
			order[nr_fibers] = mine;
			return;
		}
}

static void fiber_main(void)
{
	struct task_struct *t = sim_cur;

	fiber_begins();
	t->fn(t->arg);
	if (t->nr_held)
		sim_fail("%s ends with %s held", t->name, t->held[0]->name);
	if (t->rcu)
		sim_fail("%s ends in a read section of RCU", t->name);
	remove_fiber(t);
	sim_wake(t);
	for (;;)
		to_main();
}

u32 sim_new_id(void)
{
	if (ids_in_step == IDS_PER_STEP)
		sim_fail("more than %d fibers and requests began in one step", IDS_PER_STEP);
	return FIXED_IDS + step_index * IDS_PER_STEP + ids_in_step++ % IDS_PER_STEP;
}

/* Of all sizes up to the run's: who waits for something slow is not as slow itself. */
u32 sim_new_slowness(u32 odds)
{
	u32 bits = 32 - (u32)__builtin_clz(machine.patience | 1);

	return sim_plain || !sim_one_in(odds) ? 0 : 2u << sim_below(bits);
}

static void *new_stack(void)
{
	char *p = mmap(NULL, STACK + 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || mprotect(p, 4096, PROT_NONE)) {
		perror("no memory for a fiber");
		exit(2);
	}
	return p + 4096;
}

struct task_struct *sim_spawn(const char *name, void (*fn)(void *arg), void *arg, bool atomic)
{
	struct task_struct *t;
	void *stack;

	if (nr_fibers == SIM_FIBERS) {
		sim_fail("more than %d fibers", SIM_FIBERS);
		nr_fibers--;	/* the run is over: one of them is lost */
	}
	t = &fibers[order[nr_fibers++]];
	stack = t->stack ?: new_stack();
	memset(t, 0, sizeof(*t));
	t->stack = stack;
	t->fn = fn;
	t->arg = arg;
	t->name = name;
	t->used = true;
	t->atomic_ctx = atomic;
	t->slow = sim_new_slowness(machine.lazy);
	t->id = sim_new_id();
	t->sp = first_frame((char *)stack + STACK, fiber_main);
	return t;
}

struct task_struct *sim_next_fiber(u32 *i)
{
	return *i < nr_fibers ? &fibers[order[(*i)++]] : NULL;
}

struct task_struct *sim_current(void)
{
	return sim_cur;
}

/* --- points and sleep ---------------------------------------------------------------------- */

static void pause_here(void)
{
	do
		to_main();
	while (machine.failed);
}

void sim_point(void)
{
	machine.points++;
	if (!sim_cur)
		return;
	if (unlikely(machine.failed))
		pause_here();
	if (unlikely(++points_in_step > ENDLESS))
		sim_die("%s runs in a circle", sim_cur->name);
	if (unlikely(!--points_left)) {
		sim_cur->stalled = sim_new_slowness(machine.stall);
		pause_here();
	}
}

void sim_yield(void)
{
	if (sim_cur)
		pause_here();
}

void sim_might_sleep(const char *what)
{
	if (!sim_cur)
		return;
	if (sim_cur->atomic_ctx)
		sim_fail("%s in an interrupt (%s)", what, sim_cur->name);
	else if (sim_cur->spins || sim_cur->irqs_off)
		sim_fail("%s with a spin lock held (%s)", what, sim_cur->name);
	else if (sim_cur->rcu)
		sim_fail("%s in a read section of RCU (%s)", what, sim_cur->name);
}

void sim_block_at(const void *chan, const char *at)
{
	if (!sim_cur)
		sim_die("the host waits outside a fiber");
	sim_cur->chan = chan;
	sim_cur->at = at;
	pause_here();
}

void sim_block(const void *chan)
{
	sim_block_at(chan, NULL);
}

void sim_wake(const void *chan)
{
	u32 i;

	for (i = 0; i < nr_fibers; i++)
		if (fibers[order[i]].chan == chan)
			fibers[order[i]].chan = NULL;
}

void sim_sleep(s64 ns)
{
	struct task_struct *t = sim_cur;

	sim_might_sleep("a sleep");
	t->due = machine.now + max(ns, (s64)1);
	sim_block(t);
	t->due = 0;
}

/* --- the clock ----------------------------------------------------------------------------- */

ktime_t ktime_get(void)
{
	return machine.now += 1000;
}

static s64 next_due(void)
{
	s64 due = sim_work_due();
	u32 i;

	for (i = 0; i < nr_fibers; i++) {
		struct task_struct *t = &fibers[order[i]];

		if (t->due && t->chan && (!due || t->due < due))
			due = t->due;
	}
	return due;
}

/* Time goes on to the next moment that somebody waits for. */
static bool clock_tick(void)
{
	s64 due = next_due();
	u32 i;

	if (!due)
		return false;
	machine.now = max(machine.now, due);
	sim_work_fire(machine.now);
	for (i = 0; i < nr_fibers; i++) {
		struct task_struct *t = &fibers[order[i]];

		if (t->due && t->chan && t->due <= machine.now) {
			t->chan = NULL;
			t->timed_out = true;
		}
	}
	return true;
}

/* --- steps --------------------------------------------------------------------------------- */

void sim_begin_step(u32 index, u64 seed, bool is_plain)
{
	dice = seed;
	step_index = index;
	ids_in_step = 0;
	sim_plain = is_plain;
	points_in_step = 0;
	points_left = sim_plain || !machine.preempt ? INT64_MAX : 1 + (s64)sim_below(2 * machine.preempt);
	machine.steps++;
}

static bool can_run(const struct task_struct *t)
{
	return t->used && !t->chan;
}

u32 sim_pick_ready(u64 (*random)(void *), void *arg)
{
	u32 n = nr_fibers + sim_nr_ops(), slow = SIM_NO_STEP, start, k;

	machine.only_time = false;
	start = n ? (u32)(random(arg) % n) : 0;
	for (k = 0; k < n; k++) {
		u32 i = start + k < n ? start + k : start + k - n, id;
		u32 patience;

		if (i < nr_fibers) {
			const struct task_struct *t = &fibers[order[i]];

			if (!can_run(t))
				continue;
			id = t->id;
			patience = max(t->slow, t->stalled);
		} else {
			const struct sim_op *op = sim_op_at(i - nr_fibers);

			if (!sim_op_ready(op))
				continue;
			id = op->id;
			patience = op->slow;
		}
		/* time goes on, too, while others run */
		if (!patience || random(arg) % patience == 0)
			return machine.hurry && random(arg) % machine.hurry == 0 && next_due() ?
			       CLOCK : id;
		slow = id;
	}
	if (slow != SIM_NO_STEP)
		return slow;
	machine.only_time = true;
	return next_due() ? CLOCK : SIM_NO_STEP;
}

bool sim_at_rest(void)
{
	u32 i;

	for (i = 0; i < nr_fibers; i++)
		if (can_run(&fibers[order[i]]))
			return false;
	for (i = 0; i < sim_nr_ops(); i++)
		if (sim_op_ready(sim_op_at(i)))
			return false;
	return true;
}

bool sim_go(u32 id)
{
	struct sim_op *op;
	u32 i;

	if (id == CLOCK)
		return clock_tick();
	for (i = 0; i < nr_fibers; i++) {
		struct task_struct *t = &fibers[order[i]];

		if (t->id != id)
			continue;
		if (!can_run(t))
			return false;
		sim_cur = t;
		t->stalled = 0;
		if (!sigsetjmp(crashed, 0))
			switch_to(t);
		sim_cur = NULL;
		return true;
	}
	op = sim_op_find(id);
	if (!op || !sim_op_ready(op))
		return false;
	sim_op_step(op);
	return true;
}

static u64 own_random(void *arg)
{
	u64 *s = arg, z = (*s += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

bool sim_run(u64 seed, u32 steps)
{
	static u32 index = 1u << 20;
	u32 i, ticks = 0;

	for (i = 0; i < steps && !machine.failed; i++) {
		u32 id = sim_pick_ready(own_random, &seed);

		/* works that come again for ever are rest, too */
		if (id == SIM_NO_STEP || (machine.only_time && ++ticks > MAX_TICKS))
			return true;
		sim_begin_step(index++ % (1u << 25), own_random(&seed), false);
		sim_go(id);
	}
	return false;
}

const char *sim_who_waits(void)
{
	static char names[400];
	u32 i;
	int n = 0;

	names[0] = 0;
	for (i = 0; i < nr_fibers && n < (int)sizeof(names) - 60; i++) {
		const struct task_struct *t = &fibers[order[i]];
		const struct sim_lock *l = t->nr_held ? t->held[t->nr_held - 1] : NULL;

		n += snprintf(names + n, sizeof(names) - (size_t)n, "%s%s%s%s%s%s%s", i ? ", " : "",
			      t->name, t->chan && t->at ? " at " : "",
			      t->chan && t->at ? t->at : "", l ? " (has " : "",
			      !l ? "" : l->magic == SIM_LOCK_MAGIC ? l->name : "what is freed",
			      l ? ")" : "");
	}
	return names;
}

/* --- crashes of the code under test -------------------------------------------------------- */

static void on_signal(int number)
{
	if (sim_cur)
		sim_fail("%s: signal %d (%s)", sim_cur->name, number,
			 number == SIGSEGV ? "a bad pointer" : "a trap");
	else
		sim_die("signal %d", number);
	siglongjmp(crashed, 1);
}

#if !defined(__SANITIZE_ADDRESS__)
static __attribute__((constructor)) void catch_signals(void)
{
	static char stack[64 << 10];
	stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER };

	sigaltstack(&alt, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
	sigaction(SIGILL, &action, NULL);
}
#else
static __attribute__((constructor)) void catch_signals(void)
{
	(void)on_signal;
}
#endif

void sim_fibers_reset(void)
{
	u32 i;

	for (i = 0; i < SIM_FIBERS; i++) {
		fibers[i].used = false;
		fibers[i].chan = NULL;
		order[i] = (u16)i;
	}
	nr_fibers = 0;
	sim_cur = NULL;
}

static void machine_off(void)
{
	sim_fibers_reset();
	sim_work_reset();
	sim_locks_reset();
	sim_dm_reset();
	sim_memory_reset();
	sim_module_variables_restore();
}

void sim_reset(void)
{
	memset(&machine, 0, sizeof(machine));
	machine.preempt = 8;
	machine_off();
	sim_disks_reset();
	sim_begin_step(0, 1, false);
}

int sim_boot(void)
{
	return sim_module_init();
}

void sim_power_cut(enum sim_cut how)
{
	machine_off();
	sim_disks_power_cut(how);
}
