defmodule AxonPort.Conversation do
  @moduledoc """
  A conversation as a process: it keeps the history and the configuration, and outlives the worker.

      {:ok, conversation} = AxonPort.Conversation.start(MyApp.Agents, agent: MyApp.Guide)
      {:ok, result} = AxonPort.Conversation.ask(conversation, "What shall I wear in Riga?")
      {:ok, result} = AxonPort.Conversation.ask(conversation, "And in Ghent?")

  ## Turns

  One turn is made at a time, in the order in which they were asked for. A turn belongs to the conversation: it goes on
  when whoever asked has gone.

  A run that fails in a retryable way, for instance because its worker was killed, is made again on a worker that lives,
  with growing waits, up to `:attempts`. Where the error tells what had been said (every error of a worker that lives
  does), the next run goes on from there and no tool is called twice; where a worker has died the turn begins again, so
  tools have to bear being called twice, or `attempts: 1` has to be given.

  The history holds what happened, also in a turn that failed at last. `resume/2` goes on with it, `rewind/1` takes it
  back. A turn of which nothing is known (the worker died) has not taken place.

  ## Calls that wait for somebody

  A run can end with calls open: of tools with the handler `:deferred`, and those that need an `approval: :deferred`. Each
  is first put to its tool's `:resolve` function, in a task of its own. If all of them are answered at once, the turn
  goes on by itself. Else the result has `status: :deferred`, `open_calls/1` tells what waits, and somebody answers with
  `answer/2`, in this process or in another one on another day:

      {:ok, %{status: :deferred}} = AxonPort.Conversation.ask(conversation, "Send order 17 back.")
      [%{"call_id" => id, "name" => "refund", "args" => %{"amount" => 30}}] = AxonPort.Conversation.open_calls(conversation)
      {:ok, result} = AxonPort.Conversation.answer(conversation, %{id => :approve})

  ## Storing

  `to_json/1` gives the whole conversation as a text: history, configuration, usage, open calls and the answers they have
  so far. `:stored` begins with such a text. With both as functions, a conversation under a supervisor of yours begins
  again where it was:

      {AxonPort.Conversation,
       server: MyApp.Agents,
       agent: MyApp.Guide,
       name: {:via, Registry, {MyApp.Conversations, id}},
       stored: fn -> MyApp.Store.fetch(id) end,
       save: fn json -> MyApp.Store.put(id, json) end}

  The text holds no code: the agent is given anew. It may be another version of it, but has to have the tools of the calls
  that are open.

  ## Options of `start_link/1`

    * `:server`, `:agent` (required) - as in `AxonPort.run_sync/4`
    * `:options` - options of every run: `:instructions`, `:deps`, `:model_settings`, `:usage_limits`, `:metadata`,
      `:timeout`, `:idle_timeout`, `:retry`. They are stored, and what was stored takes their place
    * `:stored` - a text that `to_json/1` gave, `nil`, or a function that returns one of these
    * `:save` - a function of the text, called by the conversation after each turn and each answer, before whoever asked
      hears of it. Where it fails, the conversation does
    * `:attempts` - runs of one turn while they fail in a retryable way; default 3
    * `:backoff` - the wait before another attempt (`AxonPort.Backoff`); default `[base: 200, max: 10_000]`. A provider
      that says how long to wait is believed
    * `:max_waiting` - turns that may wait for theirs; more are refused as `:overloaded`; default 100
    * `:max_rounds` - how often one turn goes on by itself after `:resolve`; then its calls stay open; default 20
    * `:name` - as in `GenServer`
  """

  alias AxonPort.{Agent, Error, Result, Schema, Tool}
  alias AxonPort.Conversation.{Server, Stored, Transcript}
  alias AxonPort.Tool.Runner

  @type t :: GenServer.server()

  @for_a_turn [:model, :output, :traceparent]

  defmodule Given do
    @moduledoc """
    Options of a conversation on their way through a supervisor. Its reports show what its children are started with, and
    here that may be keys.
    """

    @derive {Inspect, only: []}
    @enforce_keys [:options]
    defstruct [:options]

    @type t :: %__MODULE__{options: keyword}
  end

  @doc "Starts a conversation. Raises `ArgumentError` on options that are none, and on a text that is none of ours."
  @spec start_link(keyword | Given.t()) :: GenServer.on_start()
  def start_link(%Given{options: options}), do: start_link(options)

  def start_link(options) do
    {name, options} = Keyword.pop(options, :name)
    server = Server.new(options)
    # Between two turns a long history is better kept compact.
    GenServer.start_link(Server, server, [hibernate_after: 15_000] ++ if(name, do: [name: name], else: []))
  end

  @doc """
  Starts a conversation beside the workers of an `AxonPort.Supervisor`, which are its `:server`.

  One that crashes is not begun again by itself: start it anew with what it had saved. Raises as `start_link/1` does. Where
  there is no such supervisor the error is `:not_ready`.
  """
  @spec start(atom, keyword) :: DynamicSupervisor.on_start_child()
  def start(name, options) do
    is_atom(name) or raise ArgumentError, "#{inspect(name)} is no name of a supervisor"
    child = child_spec([server: name] ++ options)
    DynamicSupervisor.start_child(AxonPort.Supervisor.conversations(name), %{child | restart: :temporary})
  catch
    :exit, {_gone, {GenServer, :call, _arguments}} ->
      {:error, Error.new(:not_ready, "there is no #{inspect(name)}")}
  end

  @doc false
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    # Looked at here, so that nonsense is found out by whoever gives it, and not by a supervisor.
    options |> Keyword.delete(:name) |> Server.new()
    # Begun again without its history, it would not be the same conversation.
    restart = if is_function(options[:stored]), do: :transient, else: :temporary
    start = {__MODULE__, :start_link, [%Given{options: options}]}
    %{id: options[:name] || __MODULE__, start: start, restart: restart}
  end

  @doc """
  Makes a turn of a prompt, and waits for it. Options are those of a run, for this turn only, among them `:model`,
  `:output` and `:traceparent`.

  While calls are open it is refused, with reason `:calls_open`.
  """
  @spec ask(t, String.t() | [map], keyword) :: {:ok, Result.t()} | {:error, Error.t()}
  def ask(conversation, prompt, options \\ []) when is_binary(prompt) or is_list(prompt) do
    call(conversation, {:turn, {:ask, prompt, run_options!(options)}})
  end

  @doc "Goes on with a turn that has failed, from what had been said."
  @spec resume(t, keyword) :: {:ok, Result.t()} | {:error, Error.t()}
  def resume(conversation, options \\ []), do: call(conversation, {:turn, {:resume, run_options!(options)}})

  @doc """
  Answers open calls by their ids: with what a tool returns (`{:ok, value}`, `{:retry, text}`, `{:failed, text}`), or, a
  call that waits for approval, with `:approve`, `{:approve, args}` or `{:deny, text}`.

  When the last one has its answer the turn goes on, and this waits for it; until then the result is that of the run that
  left them open. Raises `ArgumentError` for an answer that is none to its call; one to a call that is not open is the
  error `:no_such_call`.
  """
  @spec answer(t, %{String.t() => Tool.outcome() | Tool.verdict()}, keyword) ::
          {:ok, Result.t()} | {:error, Error.t()}
  def answer(conversation, answers, options \\ []) do
    options = run_options!(options)

    with calls when is_list(calls) <- open_calls(conversation) do
      open = Map.new(calls, &{&1["call_id"], &1})
      entries = Map.new(answers, fn {id, answer} -> {id, entry(open[id], answer)} end)
      call(conversation, {:turn, {:answer, entries, options}})
    end
  end

  # Somebody else may have answered it meanwhile: the conversation knows.
  defp entry(nil, _answer), do: %{}
  defp entry(call, answer), do: Runner.entry(call, answer)

  @doc "The calls that wait for an answer: maps with `call_id`, `name`, `args`, and `approval` where that is what they want."
  @spec open_calls(t) :: [Transcript.open_call()] | {:error, Error.t()}
  def open_calls(conversation), do: call(conversation, :open_calls)

  @doc "All messages so far, as pydantic-ai's JSON; those of a turn under way not included."
  @spec history(t) :: [map] | {:error, Error.t()}
  def history(conversation), do: call(conversation, :history)

  @doc "What all turns have cost together: `requests`, `input_tokens`, `output_tokens`, and the other counts of a run."
  @spec usage(t) :: %{String.t() => number} | {:error, Error.t()}
  def usage(conversation), do: call(conversation, :usage)

  @doc """
  Ends the turn under way, and waits until it has ended: true where its error is `:cancelled`.

  False where there was none, and where the run that was under way had just come to an end of its own: with that the turn
  ends, whatever it is.
  """
  @spec cancel(t) :: boolean | {:error, Error.t()}
  def cancel(conversation), do: call(conversation, :cancel)

  @doc "Takes back the last turn, with the calls it has left open. Refused while a turn is under way, as `:turn_under_way`."
  @spec rewind(t) :: :ok | {:error, Error.t()}
  def rewind(conversation), do: call(conversation, :rewind)

  @doc "Sets options of every run from the next one on; `nil` takes one away."
  @spec configure(t, keyword) :: :ok | {:error, Error.t()}
  def configure(conversation, options), do: call(conversation, {:configure, Stored.options!(options)})

  @doc "The conversation as JSON, to be given as `:stored`. A turn under way is not in it."
  @spec to_json(t) :: String.t() | {:error, Error.t()}
  def to_json(conversation), do: call(conversation, :to_json)

  defp run_options!(options) do
    {ours, stored} = Keyword.split(options, @for_a_turn)
    Map.merge(Stored.options!(stored), Map.new(ours, &for_a_turn!/1))
  end

  # Looked at here, so that nonsense is the asker's and not the conversation's.
  defp for_a_turn!({:model, model}), do: {:model, Agent.model(model)}
  defp for_a_turn!({:traceparent, text}), do: {:traceparent, Stored.plain!(:traceparent, text)}

  defp for_a_turn!({:output, type}) do
    Schema.to_json(type)
    {:output, type}
  end

  defp call(conversation, request) do
    GenServer.call(conversation, request, :infinity)
  catch
    :exit, {reason, _call} -> {:error, Error.new(:conversation_exited, %{reason: reason})}
  end
end
