-- Counts a request in one window after the other; a full one ends that.
--
-- Before it stand `acquire` and `read`: scripts of the library `limits`, as functions.
--
-- KEYS: the windows
-- ARGV: the time in seconds since 1970, then for each window how many it takes, in how many seconds
-- Returns: the place of the window that was full, 0 where none was; then for each window the time
--          of the oldest that it holds, and how many it holds
local now = ARGV[1]
local full = 0
local states = {}

for place, window in ipairs(KEYS) do
    local amount, seconds = ARGV[2 * place], ARGV[2 * place + 1]
    if full == 0 and not acquire({window}, {now, amount, seconds, 1}) then
        full = place
    end
    states[place] = read({window}, {now - seconds, amount}) or {now, 0}
end
return {full, states}
