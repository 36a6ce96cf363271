#!/usr/bin/env escript
%%! -hidden -kernel logger_level none
%% The tasks of examples/erlang/README.md, one after the other, with scripted models. Wants axon-port and jiffy.
-mode(compile).
-behaviour(supervisor).
-export([init/1]).

main([]) ->
    Source = filename:join(filename:dirname(escript:script_name()), "axon_worker"),
    {ok, axon_worker, Code} = compile:file(Source, [binary, report]),
    {module, axon_worker} = code:load_binary(axon_worker, "axon_worker.erl", Code),
    Supervisor = supervised(),
    asked(), failed(), streamed(), with_a_tool(), limited(), approved(), observed(), crashed(),
    stopped(Supervisor).

supervised() ->
    Agents = fun() -> [#{agent_id => echo, model => #{script => [#{text => <<"here">>}]}}] end,
    Child = #{
        id => agents,
        start => {axon_worker, start_link, [agents, #{args => ["--log-level", "warning"], agents => Agents}]},
        shutdown => 10000
    },
    {ok, Supervisor} = supervisor:start_link(?MODULE, [Child]),
    unlink(Supervisor),
    Supervisor.

init(Children) -> {ok, {#{strategy => one_for_one}, Children}}.

asked() ->
    {ok, #{<<"result">> := Answer, <<"usage">> := #{<<"requests">> := 1}}} =
        axon_worker:ask(agents, #{type => run, agent_id => echo, prompt => <<"Are you there?">>}, 60000),
    io:format("asked: ~ts~n", [Answer]).

failed() ->
    case axon_worker:ask(agents, #{type => run, agent_id => nobody, prompt => <<"Hello?">>}, 60000) of
        {error, #{<<"error_type">> := Type, <<"retryable">> := false}} -> io:format("failed: ~ts~n", [Type]);
        {error, #{<<"retryable">> := true} = Error} -> io:format("again in ~p ms~n", [maps:get(<<"retry_after_ms">>, Error, 500)])
    end.

streamed() ->
    Script = [#{chunks => [<<"Roses ">>, <<"are ">>, <<"red.">>]}],
    {ok, _} = axon_worker:ask(agents, #{type => create_agent, agent_id => poet, model => #{script => Script}}, 60000),
    Id = axon_worker:send(agents, #{type => stream, agent_id => poet, prompt => <<"A line">>, credit => 1}),
    io:format("stream: ~ts~n", [take(Id)]).

take(Id) ->
    receive
        {axon, Id, #{<<"type">> := <<"chunk">>, <<"data">> := Text}} ->
            axon_worker:tell(agents, #{type => credit, id => Id, n => 1}),
            [Text | take(Id)];
        {axon, Id, #{<<"type">> := <<"result">>}} -> []
    after 60000 -> error(no_chunk)
    end.

with_a_tool() ->
    Script = [#{tool_calls => [#{name => weather, args => #{city => <<"Riga">>}}]}, #{text => <<"Take a coat.">>}],
    City = #{type => object, properties => #{city => #{type => string}}, required => [city]},
    Tool = #{name => weather, description => <<"The weather in a city.">>, parameters => City, timeout_ms => 5000},
    Agent = #{type => create_agent, agent_id => guide, model => #{script => Script}, tools => [Tool]},
    {ok, _} = axon_worker:ask(agents, Agent, 60000),
    Id = axon_worker:send(agents, #{type => run, agent_id => guide, prompt => <<"What shall I wear?">>}),
    receive
        {axon, Id, #{<<"type">> := <<"tool_call">>, <<"call_id">> := Call, <<"args">> := #{<<"city">> := _}}} ->
            axon_worker:tell(agents, #{type => tool_result, id => Id, call_id => Call, result => #{degrees => 8}})
    after 60000 -> error(no_call)
    end,
    receive {axon, Id, #{<<"type">> := <<"result">>, <<"result">> := Text}} -> io:format("tool: ~ts~n", [Text]) after 60000 -> error(no_answer) end.

limited() ->
    Script = [#{text => <<"42">>, delay_ms => 3600000}],
    {ok, _} = axon_worker:ask(agents, #{type => create_agent, agent_id => thinker, model => #{script => Script}}, 60000),
    Think = #{type => run, agent_id => thinker, prompt => <<"Think">>},
    {error, #{<<"error_type">> := <<"Timeout">>}} = axon_worker:ask(agents, Think#{timeout_ms => 50}, 60000),
    Id = axon_worker:send(agents, Think),
    {ok, #{<<"result">> := #{<<"cancelled">> := true}}} = axon_worker:ask(agents, #{type => cancel, target => Id}, 60000),
    receive {axon, Id, #{<<"error_type">> := Why}} -> io:format("limit: Timeout, ~ts~n", [Why]) after 60000 -> error(still_there) end.

approved() ->
    Script = [#{tool_calls => [#{name => refund, args => #{amount => 30}}]}, #{text => <<"No.">>}],
    Tool = #{name => refund, parameters => #{type => object}, requires_approval => true},
    {ok, _} = axon_worker:ask(agents, #{type => create_agent, agent_id => clerk, model => #{script => Script}, tools => [Tool]}, 60000),
    Id = axon_worker:send(agents, #{type => run, agent_id => clerk, prompt => <<"Refund me">>}),
    receive
        {axon, Id, #{<<"type">> := <<"approval_request">>, <<"call_id">> := Call}} ->
            axon_worker:tell(agents, #{type => approval, id => Id, call_id => Call, approved => false, message => <<"closed today">>})
    after 60000 -> error(no_request)
    end,
    receive {axon, Id, #{<<"result">> := Text}} -> io:format("refused: ~ts~n", [Text]) after 60000 -> error(no_answer) end.

observed() ->
    {ok, #{<<"result">> := #{<<"runs">> := #{<<"inflight">> := Runs}}}} = axon_worker:ask(agents, #{type => stats}, 60000),
    io:format("runs under way: ~b~n", [Runs]).

crashed() ->
    Old = whereis(agents),
    {links, Links} = process_info(Old, links),
    [Port] = [Link || Link <- Links, is_port(Link)],
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Monitor = monitor(process, Old),
    os:cmd("kill -9 " ++ integer_to_list(Pid)),
    receive {'DOWN', Monitor, process, Old, Reason} -> io:format("crash: ~p~n", [Reason]) end,
    restarted(Old),
    asked().

restarted(Old) ->
    case whereis(agents) of
        New when is_pid(New), New =/= Old -> ok;
        _NotYet -> erlang:yield(), restarted(Old)
    end.

stopped(Supervisor) ->
    Monitor = monitor(process, Supervisor),
    exit(Supervisor, shutdown),
    receive {'DOWN', Monitor, process, Supervisor, Reason} -> io:format("stopped: ~p~n", [Reason]) end.
