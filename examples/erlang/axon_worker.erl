%% One worker as a gen_server: it owns the port, tells each caller the frames of its own commands, and dies with the
%% worker, so that a supervisor starts both again. Agents are given to start_link, and created in each life.
-module(axon_worker).
-behaviour(gen_server).

-export([start_link/2, ask/3, send/2, tell/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(GRACE_MS, 5000).

%% Options: args, env (as of open_port/2), agents (a list of create_agent commands, without type and id).
start_link(Name, Options) ->
    gen_server:start_link({local, Name}, ?MODULE, Options, []).

%% The last frame of a command: {ok, Result} or {error, Error}; exits as gen_server:call does if the worker dies.
ask(Worker, Command, Timeout) ->
    Monitor = monitor(process, Worker),
    Id = send(Worker, Command),
    receive
        {axon, Id, #{<<"type">> := <<"result">>} = Frame} -> demonitor(Monitor, [flush]), {ok, Frame};
        {axon, Id, #{<<"type">> := <<"error">>} = Frame} -> demonitor(Monitor, [flush]), {error, Frame};
        {'DOWN', Monitor, process, _, Reason} -> {error, {worker_gone, Reason}}
    after Timeout ->
        demonitor(Monitor, [flush]),
        send(Worker, #{type => cancel, target => Id}),
        {error, timeout}
    end.

%% Send a command; its id. Every frame with this id comes to the caller as {axon, Id, Frame}.
send(Worker, Command) -> gen_server:call(Worker, {send, Command}).

%% Send what belongs to a run and has no answer: tool_result, approval, credit.
tell(Worker, Command) -> gen_server:cast(Worker, {tell, Command}).

init(Options) ->
    process_flag(trap_exit, true),
    case os:find_executable("axon-port") of
        false ->
            {stop, axon_port_is_not_on_the_path};
        Program ->
            Given = maps:with([args, env], Options),
            Port = open_port({spawn_executable, Program}, [{packet, 4}, binary, exit_status | maps:to_list(Given)]),
            {ok, #{port => Port, next => 1, callers => #{}}, {continue, maps:get(agents, Options, [])}}
    end.

handle_continue(Agents, State) ->
    %% Commands take effect in their order: a run that is sent right behind finds its agent.
    {noreply, lists:foldl(fun(Agent, S) -> command(Agent#{type => create_agent}, self(), S) end, State, Agents)}.

handle_call({send, Command}, {Caller, _}, #{next := Id} = State) ->
    {reply, Id, command(Command, Caller, State)}.

handle_cast({tell, Command}, #{port := Port} = State) ->
    port_command(Port, jiffy:encode(Command)),
    {noreply, State}.

handle_info({Port, {data, Data}}, #{port := Port} = State) ->
    {noreply, frame(jiffy:decode(Data, [return_maps]), State)};
handle_info({Port, {exit_status, Status}}, #{port := Port} = State) ->
    {stop, {exit_status, Status}, State#{port := gone}};
handle_info({'EXIT', Port, Reason}, #{port := Port} = State) ->
    {stop, {port, Reason}, State#{port := gone}};
handle_info({axon, _, #{<<"type">> := <<"error">>, <<"message">> := Message}}, State) ->
    logger:error("an agent could not be created: ~ts", [Message]),
    {noreply, State};
handle_info(_Other, State) ->
    {noreply, State}.

%% A supervisor that stops us gives the runs under way their time; child specs want a `shutdown` above the grace.
terminate(_Reason, #{port := gone}) -> ok;
terminate(_Reason, #{port := Port}) ->
    port_command(Port, jiffy:encode(#{type => shutdown, id => <<"bye">>, grace_ms => ?GRACE_MS})),
    receive {Port, {exit_status, _}} -> ok after ?GRACE_MS + 1000 -> port_close(Port) end.

command(Command, Caller, #{port := Port, next := Id, callers := Callers} = State) ->
    port_command(Port, jiffy:encode(Command#{id => Id})),
    State#{next := Id + 1, callers := Callers#{Id => Caller}}.

frame(#{<<"type">> := <<"log">>, <<"level">> := Level, <<"message">> := Message}, State) ->
    logger:log(binary_to_existing_atom(Level), "axon-port: ~ts", [Message]),
    State;
frame(#{<<"id">> := Id, <<"type">> := Type} = Frame, #{callers := Callers} = State) when is_map_key(Id, Callers) ->
    map_get(Id, Callers) ! {axon, Id, Frame},
    case Type of
        <<"result">> -> State#{callers := maps:remove(Id, Callers)};
        <<"error">> -> State#{callers := maps:remove(Id, Callers)};
        _Before -> State
    end;
frame(_ReadyOrGoodbye, State) ->
    State.
