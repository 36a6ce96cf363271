defmodule AxonPort.Run do
  @moduledoc """
  What a caller asks for, made into a request: the agent, the prompt and the options of `AxonPort.run_sync/4`.
  """

  import AxonPort.Milliseconds, only: [is_milliseconds: 1]

  alias AxonPort.{Agent, Command, Error, Plain, Request, Schema}

  # Options that are fields of the command, by their names on the wire.
  @fields %{
    history: "message_history",
    messages: "messages",
    instructions: "instructions",
    deps: "deps",
    model: "model",
    model_settings: "model_settings",
    usage_limits: "usage_limits",
    output: "output_schema",
    idle_timeout: "idle_timeout_ms",
    retry: "retry",
    metadata: "metadata",
    deferred_results: "deferred_results",
    traceparent: "traceparent",
    events: "events",
    credit: "credit"
  }

  @objects [:deps, :model_settings, :usage_limits, :retry, :metadata]
  @streamed [:events, :credit]
  @limits [:timeout, :idle_timeout]
  # Of this side: the timeout goes into the frame when that is sent.
  @ours [:timeout]

  # A run may take a second to unwind and its terminal frame another to come: sooner the worker's own answer, which has
  # messages and usage, would be missed.
  @margin_ms 2_000

  # For a run that nobody gave a limit. A worker that hangs is noticed sooner, by its health checks.
  @longest_ms 600_000

  @doc """
  The request of a run. Raises `ArgumentError` for options there are none of, and for what is no agent.
  """
  @spec request(:run | :stream, AxonPort.agent(), AxonPort.prompt(), keyword) ::
          {:ok, Request.t()} | {:error, Error.t()}
  def request(kind, agent, prompt, options) do
    Enum.each(options, &known!(kind, &1))
    {agent, agent_id} = identify(agent)
    fields = for {key, value} <- options, name = @fields[key], into: %{}, do: {name, field(key, value)}
    fields = Map.merge(fields, %{"agent_id" => agent_id, "prompt" => prompt})

    with {:ok, command} <- Command.new(to_string(kind), fields),
         {:ok, create} <- definition(agent) do
      {:ok,
       Request.new(kind, command,
         agent: agent,
         agent_id: agent_id,
         create: create,
         output: options[:output] || (agent && agent.output),
         ref: options[:ref] || make_ref(),
         owner: options[:owner] || self(),
         deps: options[:deps],
         timeout: options[:timeout] || limit_ms(agent),
         bounded: options[:timeout] != nil or agent != nil,
         margin: @margin_ms
       )}
    end
  end

  @doc "How long a run of this agent may take if its caller gives no limit, in milliseconds."
  @spec limit_ms(Agent.t() | nil) :: pos_integer
  def limit_ms(agent), do: (agent && agent.timeout) || @longest_ms

  @doc """
  The `create_agent` of an agent, in place of one of its name; of one that is known by name only, none.

  Raises `ArgumentError` for what no worker can be told. So it is found out by whoever asks, and not by the process that
  works for everybody.
  """
  @spec definition(Agent.t() | nil, boolean) :: {:ok, Command.t() | nil} | {:error, Error.t()}
  def definition(agent, replace \\ true)
  def definition(nil, _replace), do: {:ok, nil}

  def definition(%Agent{} = agent, replace) do
    Command.new("create_agent", agent |> Agent.to_command() |> Map.put("replace", replace))
  end

  @doc "Takes `:attempts` out of the options of a run. Raises `ArgumentError` for a number that is none."
  @spec attempts!(keyword) :: {pos_integer, keyword}
  def attempts!(options) do
    case Keyword.pop(options, :attempts) do
      {nil, options} -> {1, options}
      {attempts, options} when is_integer(attempts) and attempts > 0 -> {attempts, options}
      {other, _options} -> raise ArgumentError, ":attempts of a run cannot be #{inspect(other)}"
    end
  end

  defp field(:output, type) when type != nil, do: Schema.to_json(type)
  defp field(:model, model) when model != nil, do: Agent.model(model)
  # Those that are objects may be keyword lists.
  defp field(key, value) when key in @objects, do: Plain.object(value)
  defp field(_key, value), do: value

  defp known!(kind, {limit, ms}) when limit in @limits and ms != nil and not is_milliseconds(ms),
    do: raise(ArgumentError, "#{inspect(limit)} of a #{kind} cannot be #{inspect(ms)}: it is in milliseconds")

  defp known!(_kind, {ours, _value}) when ours in @ours, do: :ok
  defp known!(_kind, {:owner, owner}) when is_pid(owner) or is_nil(owner), do: :ok
  defp known!(_kind, {:ref, ref}) when is_reference(ref) or is_nil(ref), do: :ok
  defp known!(:stream, {key, _value}) when key in @streamed, do: :ok
  defp known!(_kind, {key, _value}) when is_map_key(@fields, key) and key not in @streamed, do: :ok
  defp known!(kind, {key, _value}), do: raise(ArgumentError, "#{inspect(key)} is no option of a #{kind}")

  @doc "The agent and its name; of an agent that is known by name only, the name."
  @spec identify(AxonPort.agent()) :: {term, String.t()}
  def identify(agent_id) when is_binary(agent_id), do: {nil, agent_id}

  def identify(agent) do
    agent = Agent.new(agent)
    {agent, agent.id}
  end
end
