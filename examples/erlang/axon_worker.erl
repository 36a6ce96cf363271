%% One worker as a gen_server: it owns the port, tells each caller the frames of its own commands, cancels what nobody
%% waits for any more, and dies with the worker, so that a supervisor starts both again. Agents are given to start_link,
%% and created in each life.
-module(axon_worker).
-behaviour(gen_server).

-export([start_link/2, ask/3, send/2, tell/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

%% The worker's own default. It skips a longer frame without having seen whose it is, and ends at one far too long.
-define(MAX_FRAME_BYTES, 64 bsl 20).

%% Options: args, env (as of open_port/2), agents (a list of create_agent commands, without type and id), and grace_ms,
%% how long runs have to finish when a supervisor stops us (5000). A supervisor's reports show what its children are
%% started with: where there are keys in env or agents, give a function instead, which is called in each life.
start_link(Name, Options) ->
    gen_server:start_link({local, Name}, ?MODULE, Options#{agents => created(maps:get(agents, Options, []))}, []).

created(Function) when is_function(Function, 0) -> Function;
created(Agents) -> [command(Agent#{type => create_agent}) || Agent <- Agents].

%% The last frame of a command, and no other: {ok, Result} or {error, Error}. Streams want send/2, and so does a run
%% whose tools are ours.
ask(Worker, Command, Timeout) ->
    {Id, Frame} = command(Command),
    try
        gen_server:call(Worker, {ask, Id, Frame}, Timeout)
    catch
        exit:{timeout, {gen_server, call, _}} -> post(Worker, {cancel, Id}), {error, timeout};
        exit:{Reason, {gen_server, call, _}} -> {error, {worker_gone, Reason}}
    end.

%% Send a command; its id. Every frame with this id comes to the caller as {axon, Id, Frame}, and the last one is a
%% result or an error, unless the worker dies: monitor it to hear of that.
send(Worker, Command) ->
    {Id, Frame} = command(Command),
    ok = gen_server:call(Worker, {send, Id, Frame}, infinity),
    Id.

%% Send what belongs to a run and has no answer: tool_result, approval, credit. A mistake in it does not end the run, so
%% it comes to the caller of send/2 under a name of its own: {axon_refused, Id, Error}.
tell(Worker, Command) -> post(Worker, {tell, encode(Command)}).

%% A plain message, because terminate/2 has to see it too. As with a cast, a worker that is not there is no error.
post(Worker, Message) -> try Worker ! Message, ok catch error:badarg -> ok end.

%% Encoded in the caller: what cannot be is his error. He makes the id as well, to have it whatever happens to the call;
%% callers may be on other nodes.
command(Command) ->
    Id = iolist_to_binary([atom_to_binary(node()), $/, integer_to_binary(erlang:unique_integer([positive]))]),
    {Id, encode(Command#{id => Id})}.

encode(Command) ->
    Frame = iolist_to_binary(jiffy:encode(Command)),
    byte_size(Frame) =< ?MAX_FRAME_BYTES orelse error({frame_too_large, byte_size(Frame)}),
    Frame.

init(#{agents := Agents} = Options) ->
    process_flag(trap_exit, true),
    Created = if is_function(Agents) -> created(Agents()); true -> Agents end,
    case os:find_executable("axon-port") of
        false ->
            {stop, axon_port_is_not_on_the_path};
        Program ->
            Given = maps:map(fun(_, Option) -> given(Option) end, maps:with([args, env], Options)),
            Port = open_port({spawn_executable, Program}, [{packet, 4}, binary, exit_status | maps:to_list(Given)]),
            {ok, #{port => Port, callers => #{}, grace_ms => maps:get(grace_ms, Options, 5000)}, {continue, Created}}
    end.

given(Function) when is_function(Function, 0) -> Function();
given(Option) -> Option.

handle_continue(Agents, State) ->
    %% Commands take effect in their order: a run that is sent right behind finds its agent.
    {noreply, lists:foldl(fun({Id, Frame}, S) -> open(Id, Frame, self(), self(), S) end, State, Agents)}.

handle_call({ask, Id, Frame}, {Caller, _} = From, State) ->
    {noreply, open(Id, Frame, Caller, From, State)};
handle_call({send, Id, Frame}, {Caller, _}, State) ->
    {reply, ok, open(Id, Frame, Caller, Caller, State)}.

handle_cast(_None, State) -> {noreply, State}.

handle_info({Port, {data, Data}}, #{port := Port} = State) ->
    {noreply, frame(jiffy:decode(Data, [return_maps]), State)};
handle_info({Port, {exit_status, Status}}, #{port := Port} = State) ->
    {stop, {exit_status, Status}, State#{port := gone}};
handle_info({'EXIT', Port, Reason}, #{port := Port} = State) ->
    {stop, {port, Reason}, State#{port := gone}};
handle_info({tell, Frame}, State) ->
    write(Frame, State),
    {noreply, State};
handle_info({cancel, Id}, State) ->
    {noreply, cancel(Id, State)};
handle_info({{caller_gone, Id}, _, process, _, _}, State) ->
    {noreply, cancel(Id, State)};
handle_info({axon, _, #{<<"type">> := <<"error">>, <<"message">> := Message}}, State) ->
    logger:error("an agent could not be created: ~ts", [Message]),
    {noreply, State};
handle_info(_Other, State) ->
    {noreply, State}.

%% A supervisor that stops us gives the runs under way their time, in which they are heard and answered as before; child
%% specs want a `shutdown` above the grace.
terminate(_Reason, #{port := gone}) -> ok;
terminate(_Reason, #{grace_ms := Grace} = State) ->
    {_, Frame} = command(#{type => shutdown, grace_ms => Grace}),
    write(Frame, State),
    drain(erlang:start_timer(Grace + 1000, self(), drain), State).

drain(Timer, State) ->
    receive
        {timeout, Timer, drain} -> ok;
        Message ->
            case handle_info(Message, State) of
                {noreply, Next} -> drain(Timer, Next);
                {stop, _, _} -> ok
            end
    end.

open(Id, Frame, Caller, To, #{callers := Callers} = State) ->
    write(Frame, State),
    State#{callers := Callers#{Id => {To, monitor(process, Caller, [{tag, {caller_gone, Id}}])}}}.

%% A port that has just closed is no port any more, and the message that says so is on its way.
write(Frame, #{port := Port}) -> try port_command(Port, Frame) catch error:badarg -> closed end.

cancel(Id, #{callers := Callers} = State) when is_map_key(Id, Callers) ->
    {_, Frame} = command(#{type => cancel, target => Id}),
    write(Frame, State),
    forget(Id, State);
cancel(_Ended, State) ->
    State.

forget(Id, #{callers := Callers} = State) ->
    {{_, Monitor}, Others} = maps:take(Id, Callers),
    demonitor(Monitor, [flush]),
    State#{callers := Others}.

frame(#{<<"type">> := <<"log">>, <<"level">> := Level, <<"message">> := Message}, State) ->
    logger:log(binary_to_existing_atom(Level), "axon-port: ~ts", [Message]),
    State;
frame(#{<<"id">> := Id, <<"type">> := Type} = Frame, #{callers := Callers} = State) when is_map_key(Id, Callers) ->
    {To, _} = map_get(Id, Callers),
    deliver(To, Id, Frame),
    case Type of
        <<"result">> -> forget(Id, State);
        <<"error">> -> forget(Id, State);
        _Before -> State
    end;
frame(#{<<"id">> := null, <<"error_type">> := Type, <<"message">> := Why} = Frame, #{callers := Callers} = State) ->
    Id = maps:get(<<"run_id">>, Frame, none),
    logger:error("axon-port: ~ts: ~ts (run: ~0tp)", [Type, Why, Id]),
    case Callers of
        #{Id := {To, _}} when is_pid(To) -> To ! {axon_refused, Id, Frame};
        _NobodyToTell -> ok
    end,
    State;
frame(_ReadyOrGoodbye, State) ->
    State.

deliver({_, _} = From, _, #{<<"type">> := <<"result">>} = Frame) -> gen_server:reply(From, {ok, Frame});
deliver({_, _} = From, _, #{<<"type">> := <<"error">>} = Frame) -> gen_server:reply(From, {error, Frame});
deliver({_, _}, _, _Before) -> ok;
deliver(Pid, Id, Frame) -> Pid ! {axon, Id, Frame}.
