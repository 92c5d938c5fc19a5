// Batch harness around one verilated component. The rules of a cycle are in bench.py.
//
// ports.h is generated beside the model. INPUTS, OUTPUTS (streams), SETTINGS and STATES (plain inputs and outputs) are
// lists of X(number, name), INPUT_COUNT and OUTPUT_COUNT their lengths; words_<name> is the payload's size, and functions
// set_valid_<name> and so on reach valid and ready, which an always-valid or always-ready stream lacks.

#include "Vtop.h"
#include "ports.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

#include <cstdint>
#include <cstring>
#include <memory>

namespace {

template <typename T> inline void put(T& port, const uint32_t* words) {
    if constexpr (sizeof(T) == 8) {
        port = static_cast<T>(words[0]) | static_cast<T>(words[1]) << 32;
    } else {
        port = static_cast<T>(words[0]);
    }
}
template <std::size_t N> inline void put(VlWide<N>& port, const uint32_t* words) {
    std::memcpy(&port, words, 4 * N);
}
template <typename T> inline void get(const T& port, uint32_t* words) {
    words[0] = static_cast<uint32_t>(port);
    if constexpr (sizeof(T) == 8) words[1] = static_cast<uint32_t>(port >> 32);
}
template <std::size_t N> inline void get(const VlWide<N>& port, uint32_t* words) {
    std::memcpy(words, &port, 4 * N);
}

inline uint32_t draw(uint64_t& state) {
    uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<uint32_t>((z ^ (z >> 31)) >> 32);
}

inline bool marked(const uint32_t* words, int64_t mark) {
    return mark < 0 || (words[mark >> 5] >> (mark & 31) & 1);
}

}  // namespace

// Mirrored in compiled.py.
struct Source {
    const uint32_t* items;
    uint64_t count;
    const int64_t* barriers;  // rows of 1 + INPUT_COUNT + OUTPUT_COUNT
    uint64_t barrier_count;
    int64_t* cycles;
    int64_t mark;
    uint64_t random;
    uint64_t sent;
    uint64_t units;
    uint64_t barrier;
    uint64_t valid;
};

struct Sink {
    uint32_t* items;
    int64_t* cycles;
    uint64_t capacity;
    uint64_t wanted;
    int64_t mark;
    uint64_t random;
    uint64_t count;
    uint64_t units;
    uint64_t held;
};

struct Control {
    int64_t cycle;
    int64_t limit;  // return at this cycle, to be called again
    int64_t progress;  // cycle of the last output
    int64_t done;  // cycle since which everything wanted is there, or -1
    int64_t watchdog;
    int64_t settle;
    uint64_t idle;  // thresholds of 32-bit draws
    uint64_t backpressure;
    int64_t trace_first;
    int64_t trace_last;
    int64_t stream;  // the output a status is about
};

enum Status { DONE = 0, MORE = 1, STALLED = 2, SURPLUS = 3, UNSTABLE = 4 };

struct Simulation {
    VerilatedContext context;
    std::unique_ptr<Vtop> model;
    int64_t time = 0;  // cycles since power-on
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> trace;
#endif
#define X(n, name) uint32_t held_##name[words_##name];
    OUTPUTS
#undef X

    Simulation() {
#if VM_TRACE
        context.traceEverOn(true);
#endif
        model.reset(new Vtop(&context, "top"));
        idle();
        model->rst = 0;
        model->clk = 0;
        model->eval();
    }

    void idle() {
#define X(n, name) set_valid_##name(*model, 0);
        INPUTS
#undef X
#define X(n, name) set_ready_##name(*model, 0);
        OUTPUTS
#undef X
    }

    void dump(const Control& c, int half) {
#if VM_TRACE
        if (trace && c.cycle >= c.trace_first && c.cycle <= c.trace_last)
            trace->dump(static_cast<uint64_t>(10 * time + 5 * half));
#endif
    }

    void close_trace() {
#if VM_TRACE
        if (trace) trace->close();
        trace.reset();
#endif
    }

    int run(Source* sources, Sink* sinks, Control& c);
};

int Simulation::run(Source* sources, Sink* sinks, Control& c) {
    Vtop& top = *model;
    constexpr int row = 1 + INPUT_COUNT + OUTPUT_COUNT;
    if (c.cycle == 0) {
        idle();
        top.clk = 0;
        top.eval();
        dump(c, 0);
        top.clk = 1;
        top.eval();
        dump(c, 1);
        ++time;
    }
    for (; c.cycle < c.limit; ++c.cycle, ++time) {
        const auto free_to_go = [&](Source& s) {
            while (s.barrier < s.barrier_count) {
                const int64_t* b = s.barriers + s.barrier * row;
                if (static_cast<uint64_t>(b[0]) > s.sent) return true;
                for (int k = 0; k < INPUT_COUNT; ++k)
                    if (static_cast<int64_t>(sources[k].units) < b[1 + k]) return false;
                for (int k = 0; k < OUTPUT_COUNT; ++k)
                    if (static_cast<int64_t>(sinks[k].units) < b[1 + INPUT_COUNT + k]) return false;
                ++s.barrier;
            }
            return true;
        };
        bool all_there = true;
#define X(n, name)                                                                          \
    {                                                                                       \
        Source& s = sources[n];                                                             \
        const bool wait = c.idle && draw(s.random) < c.idle;                                \
        if (!s.valid && s.sent < s.count && !wait && free_to_go(s)) {                       \
            put(top.name##_payload, s.items + s.sent * words_##name);                       \
            s.valid = 1;                                                                    \
        }                                                                                   \
        set_valid_##name(top, s.valid);                                                     \
        all_there &= s.sent == s.count;                                                     \
    }
        INPUTS
#undef X
#define X(n, name)                                                                          \
    {                                                                                       \
        Sink& s = sinks[n];                                                                 \
        const bool ready = !(has_ready_##name && c.backpressure && draw(s.random) < c.backpressure); \
        set_ready_##name(top, ready);                                                       \
        all_there &= s.units >= s.wanted;                                                   \
    }
        OUTPUTS
#undef X
        // Nothing is offered from here on to a component that has given all.
        if (all_there) {
            if (c.done < 0) c.done = c.cycle;
            if (c.cycle - c.done >= c.settle) {
                idle();
                return DONE;
            }
        } else if (c.cycle - c.progress > c.watchdog) {
            return STALLED;
        }

        top.clk = 0;
        top.eval();
        dump(c, 0);

        bool took[INPUT_COUNT + 1] = {};
#define X(n, name) took[n] = sources[n].valid && ready_##name(top);
        INPUTS
#undef X
#define X(n, name)                                                                          \
    {                                                                                       \
        Sink& s = sinks[n];                                                                 \
        if (valid_##name(top)) {                                                            \
            constexpr int words = words_##name;                                             \
            if (s.held) {                                                                   \
                uint32_t now[words];                                                        \
                get(top.name##_payload, now);                                               \
                if (std::memcmp(now, held_##name, 4 * words)) {                             \
                    c.stream = n;                                                           \
                    return UNSTABLE;                                                        \
                }                                                                           \
            }                                                                               \
            s.held = !ready_##name(top);                                                 \
            if (s.held) {                                                                   \
                get(top.name##_payload, held_##name);                                       \
            } else {                                                                        \
                if (s.count == s.capacity) {                                                \
                    c.stream = n;                                                           \
                    return SURPLUS;                                                         \
                }                                                                           \
                uint32_t* words_out = s.items + s.count * words;                            \
                get(top.name##_payload, words_out);                                         \
                s.cycles[s.count++] = c.cycle;                                              \
                if (marked(words_out, s.mark)) ++s.units;                                   \
                c.progress = c.cycle;                                                       \
            }                                                                               \
        } else if (s.held) {                                                                \
            c.stream = n;                                                                   \
            return UNSTABLE;                                                                \
        }                                                                                   \
    }
        OUTPUTS
#undef X
        top.clk = 1;
        top.eval();
        dump(c, 1);
#define X(n, name)                                                                          \
    if (took[n]) {                                                                          \
        Source& s = sources[n];                                                             \
        s.cycles[s.sent] = c.cycle;                                                         \
        if (marked(s.items + s.sent * words_##name, s.mark)) ++s.units;                     \
        ++s.sent;                                                                           \
        s.valid = 0;                                                                        \
    }
        INPUTS
#undef X
    }
    return MORE;
}

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT Simulation* simulation_new() { return new Simulation; }

EXPORT void simulation_delete(Simulation* s) {
    s->close_trace();
    delete s;
}

EXPORT int simulation_run(Simulation* s, Source* sources, Sink* sinks, Control* control) {
    return s->run(sources, sinks, *control);
}

EXPORT void simulation_set(Simulation* s, int number, const uint32_t* words) {
    switch (number) {
#define X(n, name) \
    case n: put(s->model->name, words); break;
        SETTINGS
#undef X
        default: break;
    }
}

EXPORT void simulation_get(Simulation* s, int number, uint32_t* words) {
    s->model->clk = 0;
    s->model->eval();
    switch (number) {
#define X(n, name) \
    case n: get(s->model->name, words); break;
        STATES
#undef X
        default: break;
    }
}

EXPORT int simulation_trace(Simulation* s, const char* path) {
#if VM_TRACE
    s->close_trace();
    if (!path) return 1;
    s->trace.reset(new VerilatedVcdC);
    s->model->trace(s->trace.get(), 99);
    s->trace->open(path);
    return s->trace->isOpen();
#else
    (void)s;
    return path == nullptr;
#endif
}
