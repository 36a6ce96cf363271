%% What examples/erlang/axon_worker.erl does when something goes wrong. One scene for each test: test_examples.py names
%% it, the assertions are matches in here.
-module(worker_scenes).
-behaviour(supervisor).
-export([main/1, log/2, init/1]).

-define(DEADLINE, 60000).

main([Name]) ->
    ok = logger:remove_handler(default),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => self()}),
    process_flag(trap_exit, true),
    try scene(list_to_atom(Name)) of
        _ -> io:format("done~n"), halt(0)
    catch
        Class:Reason:Stack ->
            io:format("~p: ~p~n~p~nmailbox: ~p~n", [Class, Reason, Stack, process_info(self(), messages)]),
            halt(1)
    end.

log(#{level := error, msg := {Format, Values}}, #{config := Scene}) when is_list(Format) ->
    Scene ! {logged, unicode:characters_to_binary(io_lib:format(Format, Values))};
log(#{level := error, msg := {report, Report}}, #{config := Scene}) ->
    Scene ! {reported, Report},
    ok;
log(_Other, _Config) ->
    ok.

init(Children) -> {ok, {#{strategy => one_for_one, intensity => 2}, Children}}.

%% Each has a run for an hour; one waits for it in ask/3, the other only for messages.
scene(callers_die) ->
    start(),
    Asks = spawn(fun() -> axon_worker:ask(agents, think(), infinity) end),
    Sends = spawn(fun() -> axon_worker:send(agents, think()), receive never -> ok end end),
    until(#{<<"inflight">> => 2}),
    [exit(Caller, kill) || Caller <- [Asks, Sends]],
    until(#{<<"inflight">> => 0, <<"cancelled">> => 2}),
    [] = open_commands();

scene(caller_is_dead_before_he_is_read) ->
    Worker = start(),
    ok = sys:suspend(Worker),
    {Caller, Monitor} = spawn_monitor(fun() -> axon_worker:send(agents, think()) end),
    until_queued(Worker, '$gen_call'),
    exit(Caller, kill),
    receive {'DOWN', Monitor, process, Caller, killed} -> ok after ?DEADLINE -> error(alive) end,
    ok = sys:resume(Worker),
    until(#{<<"inflight">> => 0, <<"cancelled">> => 1});

scene(callers_give_up) ->
    start(),
    [{error, timeout} = axon_worker:ask(agents, think(), Timeout) || Timeout <- [0, 1, 20, 20, 20]],
    until(#{<<"inflight">> => 0, <<"cancelled">> => 5}),
    [] = open_commands(),
    {monitored_by, Watchers} = process_info(self(), monitored_by),
    false = lists:member(whereis(agents), Watchers),
    %% Not one frame of them, nor of the chunks that nobody took.
    {ok, #{<<"result">> := <<"ab">>}} =
        axon_worker:ask(agents, #{type => stream, agent_id => poet, prompt => <<"Go">>}, ?DEADLINE),
    {messages, []} = process_info(self(), messages);

scene(cannot_be_encoded) ->
    Worker = start(),
    {Id, Call} = called(),
    Bad = [{a, tuple}, <<"caf", 233>>, self(), binary:copy(<<"x">>, 64 bsl 20)],
    [begin
        Run = #{type => run, agent_id => poet, prompt => Term},
        {'EXIT', {_, [_ | _]}} = catch axon_worker:ask(agents, Run, ?DEADLINE),
        {'EXIT', {_, [_ | _]}} = catch axon_worker:send(agents, Run),
        Answer = #{type => tool_result, id => Id, call_id => Call, result => Term},
        {'EXIT', {_, [_ | _]}} = catch axon_worker:tell(agents, Answer),
        {'EXIT', {_, [_ | _]}} = catch axon_worker:start_link(others, #{agents => [#{agent_id => Term}]})
     end || Term <- Bad],
    finish(Id, Call),
    Worker = whereis(agents);

%% The stop reaches the worker before the answer to the call does: both are signals of this process.
scene(stopped) ->
    Worker = start(),
    {Id, Call} = called(),
    Scene = self(),
    %% Waits its turn behind the run that was called.
    Waits = (run(guide))#{model => #{script => [#{text => <<"after you">>}]}},
    spawn_link(fun() -> Scene ! {asked, axon_worker:ask(agents, Waits, infinity)} end),
    until(#{<<"inflight">> => 2}),
    exit(Worker, shutdown),
    finish(Id, Call),
    {ok, #{<<"result">> := <<"after you">>}} = asked(),
    receive {'EXIT', Worker, shutdown} -> ok after ?DEADLINE -> error(still_there) end;

%% As stopped, but what is left ends with the grace.
scene(stopped_without_grace) ->
    Worker = start(#{grace_ms => 0}),
    Id = axon_worker:send(agents, think()),
    until(#{<<"inflight">> => 1}),
    exit(Worker, shutdown),
    receive {axon, Id, #{<<"error_type">> := <<"Cancelled">>}} -> ok after ?DEADLINE -> error(no_answer) end,
    receive {'EXIT', Worker, shutdown} -> ok after ?DEADLINE -> error(still_there) end;

scene(refused) ->
    start(),
    {Id, Call} = called(),
    axon_worker:tell(agents, #{type => tool_result, id => Id, call_id => Call, resultt => 8}),
    receive
        {axon_refused, Id, #{<<"error_type">> := <<"InvalidCommand">>, <<"call_id">> := Call}} -> ok
    after ?DEADLINE -> error(not_told)
    end,
    {match, _} = re:run(logged(), ["InvalidCommand.*resultt.*", Id]),
    %% It was not the end of the run.
    finish(Id, Call);

%% Too deep for the worker to read the id.
scene(refused_unread) ->
    start(),
    Deep = lists:foldl(fun(_, Inner) -> [Inner] end, [], lists:seq(1, 100000)),
    axon_worker:send(agents, #{type => ping, deep => Deep}),
    {match, _} = re:run(logged(), "InvalidJSON");

scene(worker_dies) ->
    {error, {worker_gone, noproc}} = axon_worker:ask(agents, think(), ?DEADLINE),
    ok = axon_worker:tell(agents, #{type => credit, id => 1, n => 1}),
    Worker = start(),
    Scene = self(),
    spawn_link(fun() -> Scene ! {asked, axon_worker:ask(agents, think(), infinity)} end),
    until(#{<<"inflight">> => 1}),
    os:cmd("kill -9 " ++ os_pid(Worker)),
    {error, {worker_gone, {exit_status, 137}}} = asked();

%% Not by the supervisor's report of a crash, and not by its status.
scene(keys_are_not_shown) ->
    Poet = #{agent_id => poet, instructions => <<"sk-secret">>, model => #{script => [#{text => <<"a">>}]}},
    Agents = fun() -> [Poet] end,
    Options = #{args => ["--log-level", "error"], env => fun() -> [{"KEY", "sk-secret"}] end, agents => Agents},
    Child = #{id => agents, start => {axon_worker, start_link, [agents, Options]}},
    {ok, Supervisor} = supervisor:start_link(?MODULE, [Child]),
    [begin
        {ok, #{<<"result">> := <<"a">>}} = axon_worker:ask(agents, run(poet), ?DEADLINE),
        Worker = whereis(agents),
        Pid = os_pid(Worker),
        {ok, Environment} = file:read_file("/proc/" ++ Pid ++ "/environ"),
        {match, _} = re:run(Environment, "KEY=sk-secret"),
        nomatch = re:run(io_lib:format("~p", [sys:get_status(Supervisor)]), "secret"),
        Monitor = monitor(process, Worker),
        os:cmd("kill -9 " ++ Pid),
        receive {'DOWN', Monitor, process, Worker, _} -> ok after ?DEADLINE -> error(alive) end,
        #{report := Told} = reported({supervisor, child_terminated}),
        nomatch = re:run(io_lib:format("~p", [Told]), "secret"),
        until_other(Worker)
     end || _Life <- [first, second]],
    exit(Supervisor, shutdown),
    receive {'EXIT', Supervisor, shutdown} -> ok after ?DEADLINE -> error(still_there) end;

%% What was sent to a port that has closed, before the owner has heard of it, does not change what he ends with.
scene(written_to_a_closed_port) ->
    Worker = start(),
    ok = sys:suspend(Worker),
    {links, Links} = process_info(Worker, links),
    [Port] = [Link || Link <- Links, is_port(Link)],
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    axon_worker:tell(agents, #{type => credit, id => 1, n => 1}),
    os:cmd("kill -9 " ++ integer_to_list(Pid)),
    until_closed(Port),
    ok = sys:resume(Worker),
    {exit_status, 137} = receive {'EXIT', Worker, Why} -> Why after ?DEADLINE -> error(still_there) end.

start() -> start(#{grace_ms => ?DEADLINE}).

start(Options) ->
    Tool = #{name => weather, parameters => #{type => object}},
    Agents = [
        #{agent_id => thinker, model => #{script => [#{text => <<"42">>, delay_ms => 3600000}]}},
        #{agent_id => poet, model => #{script => [#{chunks => [<<"a">>, <<"b">>]}]}},
        #{agent_id => guide, tools => [Tool], max_concurrency => 1,
          model => #{script => [#{tool_calls => [#{name => weather, args => #{}}]}, #{text => <<"Take a coat.">>}]}}
    ],
    {ok, Worker} = axon_worker:start_link(agents, Options#{args => ["--log-level", "error"], agents => Agents}),
    until_created(),
    Worker.

%% The answers to create_agent may come after those of runs that were cancelled at once.
until_created() ->
    case open_commands() of
        [] -> ok;
        _Agents -> until_created()
    end.

run(Agent) -> #{type => run, agent_id => Agent, prompt => <<"Go">>}.

think() -> run(thinker).

%% A run that waits for an answer to its call.
called() ->
    Id = axon_worker:send(agents, run(guide)),
    receive
        {axon, Id, #{<<"type">> := <<"tool_call">>, <<"call_id">> := Call}} -> {Id, Call}
    after ?DEADLINE -> error(no_call)
    end.

finish(Id, Call) ->
    axon_worker:tell(agents, #{type => tool_result, id => Id, call_id => Call, result => 8}),
    receive
        {axon, Id, #{<<"result">> := <<"Take a coat.">>}} -> ok
    after ?DEADLINE -> error(no_answer)
    end.

%% Returns when the worker counts its runs so.
until(Wanted) ->
    {ok, #{<<"result">> := #{<<"runs">> := Runs}}} = axon_worker:ask(agents, #{type => stats}, ?DEADLINE),
    case maps:with(maps:keys(Wanted), Runs) of
        Wanted -> ok;
        _NotYet -> until(Wanted)
    end.

until_queued(Process, Tag) ->
    {messages, Queue} = process_info(Process, messages),
    case lists:any(fun(Message) -> element(1, Message) =:= Tag end, Queue) of
        true -> ok;
        false -> erlang:yield(), until_queued(Process, Tag)
    end.

until_closed(Port) ->
    case erlang:port_info(Port) of
        undefined -> ok;
        _Open -> erlang:yield(), until_closed(Port)
    end.

%% The supervisor has started another one.
until_other(Worker) ->
    case whereis(agents) of
        Other when is_pid(Other), Other =/= Worker -> ok;
        _NotYet -> erlang:yield(), until_other(Worker)
    end.

os_pid(Worker) ->
    {links, Links} = process_info(Worker, links),
    [{os_pid, Pid}] = [erlang:port_info(Port, os_pid) || Port <- Links, is_port(Port)],
    integer_to_list(Pid).

open_commands() ->
    #{callers := Callers} = sys:get_state(agents),
    maps:keys(Callers).

asked() -> receive {asked, Answer} -> Answer after ?DEADLINE -> error(no_answer) end.

logged() -> receive {logged, Text} -> Text after ?DEADLINE -> error(nothing_logged) end.

reported(Label) ->
    receive {reported, #{label := Label} = Report} -> Report after ?DEADLINE -> error(nothing_reported) end.
