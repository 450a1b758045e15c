/*
 * What the containers run: nothing, in the shortest time; its status proves that it ran. With an argument it lives on.
 *
 * Without a C library, whose own start takes longer than all that happens here: on a virtual machine some hundred
 * microseconds, for each CPUID in it asks the hypervisor. That is no runtime's doing, and all would be measured with it.
 */
static long call(long number)
{
	long result;
#if defined(__x86_64__)
	register long sigmask __asm__("r10") = 0;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(number == 231 ? 7L : 0L), "S"(0L), "d"(0L), "r"(sigmask)
			 : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = number == 94 ? 7 : 0;
	register long x1 __asm__("x1") = 0, x2 __asm__("x2") = 0, x3 __asm__("x3") = 0;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	result = x0;
#else
#error "how does one call the kernel here?"
#endif
	return result;
}

#if defined(__x86_64__)
enum { PPOLL = 271, EXIT_GROUP = 231 };
__asm__(".globl _start\n_start: mov (%rsp), %rdi\n and $-16, %rsp\n call begin\n");
#elif defined(__aarch64__)
enum { PPOLL = 73, EXIT_GROUP = 94 };
__asm__(".globl _start\n_start: ldr x0, [sp]\n bl begin\n");
#endif

/* Found on the stack, where the kernel leaves it. */
__attribute__((noreturn, used)) void begin(long argc)
{
	while (argc > 1)
		call(PPOLL);
	for (;;)
		call(EXIT_GROUP);
}
