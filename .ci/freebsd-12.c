/*
 * What programs linked by .ci/freebsd-link ask of FreeBSD's C library that came after 12, amd64. It is here in terms of what 12 has, so
 * that they ask for nothing newer, and start on any release from 12 on.
 */
void exit(int) __attribute__((noreturn));
int atexit(void (*)(void));
void pthread_set_name_np(void *, const char *);

/* Both are in what the linker puts before this; the C library looks for them in the program. */
extern char **environ;
extern const char *__progname;

/*
 * The first C function of a program; 14's library has it. `cleanup` is what the run-time linker wants to be called at the end; it has
 * called all constructors before.
 */
void
__libc_start1(int argc, char **argv, char **env, void (*cleanup)(void), int (*start)(int, char **, char **))
{
	if (environ == 0)
		environ = env;
	if (argc > 0 && argv[0] != 0) {
		__progname = argv[0];
		for (const char *s = argv[0]; *s != '\0'; s++)
			if (*s == '/')
				__progname = s + 1;
	}
	if (cleanup != 0)
		atexit(cleanup);
	exit(start(argc, argv, env));
}

/* 13's name for what 12 has, too. */
int
pthread_setname_np(void *thread, const char *name)
{
	pthread_set_name_np(thread, name);
	return (0);
}

/* 14's; std uses it if it is there, and it is not. */
__asm__(".globl posix_spawn_file_actions_addchdir_np\n.hidden posix_spawn_file_actions_addchdir_np\n"
	".set posix_spawn_file_actions_addchdir_np, 0");
